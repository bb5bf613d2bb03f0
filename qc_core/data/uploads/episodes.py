"""Stores episodes that deployed robots and simulators upload, by environment.

episodes/ENVIRONMENT/…                                 accepted files, with any names
episodes/quarantine/ENVIRONMENT/SHA256/episodes.npz    invalid files
episodes/quarantine/ENVIRONMENT/SHA256/REASON.json     why the file is invalid

Episodes belong to an environment, not to a policy: all policies of the environment can learn from
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.data.formats.source import Source
from qc_core.data.uploads.check import UploadCheck, upload_check
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.files import reading, require_file, sha256_of
from qc_core.log import log
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.environment_spec import gymnasium_id
from qc_core.registry.registry import LATEST, Registry
from qc_core.store.objects import NoSuchObject, ObjectStore

_ROOT = "episodes/"
_QUARANTINE = _ROOT + "quarantine/"
_EPISODES, _REASON = "episodes.npz", "REASON.json"


class NoEpisodes(UsageError):
    """The store has no episodes of the environment."""


class Upload(Document, frozen=True, kw_only=True):
    """The result of uploading one file.

    Attributes:
        file: path on this machine.
        key: of the object in the store.
        state: "known" if the store already had the file.
        episodes: number of episodes in the file; 0 if it was quarantined.
        reason: why it was quarantined, else empty.
    """

    file: str
    key: str
    state: Literal["accepted", "known", "quarantined"]
    episodes: int = 0
    reason: str = ""


class StoredEpisodes(Document, frozen=True, kw_only=True):
    """A file of episodes in the store; `reason` is why it is in quarantine, None if it is not."""

    environment: str
    key: str
    reason: str | None = None


class QuarantineReason(Document, frozen=True, kw_only=True):
    """The content of REASON.json: why a file was quarantined, and when (ISO 8601, UTC)."""

    environment: str
    reason: str
    quarantined: str


def push_episodes(
    store: ObjectStore, config: Config, files: Sequence[Path], policy: str | None = None
) -> list[Upload]:
    """Upload npz files under their checksums; invalid files go to the quarantine.

    Args:
        config: names the environment, and its control interval if it reports none.
        policy: NAME, NAME@ALIAS or NAME:VERSION in the store, whose contract the episodes of a
            robot without a simulator must match.

    Raises:
        UsageError: a file does not exist or is not a file, or there is nothing to check the
            episodes against. Nothing is uploaded then.
    """
    for file in files:
        with reading(file):
            require_file(file)
            exists = file.exists()
        if not exists:
            raise UsageError(f"{file} does not exist")
    contract = Registry(store).details(policy).contract if policy else None
    environment = config.environment
    with closing(upload_check(config, contract)) as check:
        known = set(store.keys(_prefix(environment)))
        return [_push(store, environment, file, check, known) for file in files]


@contextmanager
def fetched_episodes(store: ObjectStore, config: Config, folder: Path) -> Iterator[Source]:
    """Download the accepted files of an environment to a folder, and open them.

    Every file is checked again, because anyone with access can write to the store. Invalid files
    are moved to the quarantine. Episodes of a robot without a simulator are checked against the
    contract of the latest version of `config.policy_name`.

    Raises:
        NoEpisodes: there is no valid file.
        UsageError: there is nothing to check the episodes against.
    """
    environment, arriving = config.environment, folder / ".arriving"
    keys = sorted(store.keys(_prefix(environment)))
    if not keys:
        raise _no_episodes(store, environment)
    with closing(upload_check(config, _latest_contract(store, config))) as check:
        for key in keys:
            try:
                store.get_file(key, arriving)
            except NoSuchObject:
                # Another run has just quarantined it.
                continue
            try:
                check(arriving)
            except UsageError as refusal:
                reason = str(refusal).replace(str(arriving), key)
                log.info(f"quarantined: {reason}")
                _quarantine(store, environment, arriving, reason)
                _delete_if_unchanged(store, key, arriving)
            else:
                arriving.rename(folder / f"{sha256_of(arriving)}.npz")
        arriving.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            raise _no_episodes(store, environment)
        yield check.open(folder)


def _latest_contract(store: ObjectStore, config: Config) -> Contract | None:
    registry = Registry(store)
    latest = registry.alias(config.policy_name, LATEST)
    if latest is None:
        return None
    return registry.details(f"{config.policy_name}:{latest}").contract


def _no_episodes(store: ObjectStore, environment: str) -> NoEpisodes:
    return NoEpisodes(
        f"no episodes of {environment} in {store.describe()} yet: add some with `qc episodes push`"
    )


def list_episodes(store: ObjectStore) -> Iterator[StoredEpisodes]:
    """Yield every accepted and every quarantined file."""
    for key in sorted(store.keys(_ROOT)):
        if not key.startswith(_QUARANTINE):
            environment = key.removeprefix(_ROOT).rpartition("/")[0]
            yield StoredEpisodes(environment=environment, key=key)
        elif key.endswith("/" + _REASON):
            environment = key.removeprefix(_QUARANTINE).rpartition("/")[0].rpartition("/")[0]
            yield StoredEpisodes(environment=environment, key=key, reason=_reason(store, key))


def _reason(store: ObjectStore, key: str) -> str:
    try:
        return documents.parse(store.get(key), QuarantineReason, key).reason
    except (NoSuchObject, UsageError):
        return "the reason is not readable"


def _push(
    store: ObjectStore, environment: str, file: Path, check: UploadCheck, known: set[str]
) -> Upload:
    try:
        episodes = check(file)
    except UsageError as refusal:
        reason = str(refusal).replace(str(file), file.name)
        key = _quarantine(store, environment, file, reason)
        return Upload(file=str(file), key=key, state="quarantined", reason=reason)
    key = f"{_prefix(environment)}{sha256_of(file)}.npz"
    if key in known:
        return Upload(file=str(file), key=key, state="known", episodes=episodes)
    store.put_file(key, file)
    known.add(key)
    return Upload(file=str(file), key=key, state="accepted", episodes=episodes)


def _quarantine(store: ObjectStore, environment: str, file: Path, reason: str) -> str:
    prefix = f"{_QUARANTINE}{gymnasium_id(environment)}/{sha256_of(file)}/"
    store.put_file(prefix + _EPISODES, file)
    content = QuarantineReason(
        environment=environment,
        reason=reason,
        quarantined=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    store.put(prefix + _REASON, documents.encode(content))
    return prefix + _EPISODES


def _delete_if_unchanged(store: ObjectStore, key: str, file: Path) -> None:
    """Delete an object unless another file has replaced it since it was downloaded."""
    again = file.with_name(".again")
    try:
        store.get_file(key, again)
    except NoSuchObject:
        return
    if sha256_of(again) == sha256_of(file):
        store.delete(key)
    again.unlink()


def _prefix(environment: str) -> str:
    return f"{_ROOT}{gymnasium_id(environment)}/"

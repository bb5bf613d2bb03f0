"""Episodes that deployed robots and simulators upload, by environment.

episodes/ENVIRONMENT/…                                 what may be learned from, any names
episodes/quarantine/ENVIRONMENT/SHA256/episodes.npz    what may not
episodes/quarantine/ENVIRONMENT/SHA256/REASON.json     and why

They are an environment's and no policy's: whatever plays it may learn from all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from qc_core.data.uploads.check import UploadCheck
from qc_core.errors import UsageError
from qc_core.files import parse_json, reading, require_file, sha256_of
from qc_core.log import log
from qc_core.store.objects import NoSuchObject, ObjectStore

_ROOT = "episodes/"
_QUARANTINE = _ROOT + "quarantine/"
_EPISODES, _REASON = "episodes.npz", "REASON.json"


class NoEpisodes(UsageError):
    """Nobody has uploaded any for that environment yet."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of one file.

    Attributes:
        episodes: in it; 0 where it is in quarantine.
        reason: why it is there, empty where it is not.
    """

    file: str
    key: str
    state: Literal["accepted", "known", "quarantined"]
    episodes: int = 0
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def push_episodes(store: ObjectStore, environment: str, files: Sequence[Path]) -> list[Upload]:
    """Upload npz files under their checksums, the bad ones to the quarantine.

    Raises:
        UsageError: a file is not there or is none, or the environment has no task; then nothing is
            uploaded.
    """
    for file in files:
        with reading(file):
            require_file(file)
            exists = file.exists()
        if not exists:
            raise UsageError(f"{file} does not exist")
    with closing(UploadCheck(environment)) as check:
        known = set(store.keys(_prefix(environment)))
        return [_push(store, environment, file, check, known) for file in files]


def fetch_episodes(store: ObjectStore, environment: str, folder: Path) -> None:
    """Fetch what was uploaded for an environment, each object to a file of its checksum's name.

    Everything is checked on arrival, for anybody may have put it there. What is bad is moved to
    the quarantine, and the rest go on.

    Raises:
        NoEpisodes: nothing is left.
    """
    arriving = folder / ".arriving"
    with closing(UploadCheck(environment)) as check:
        for key in sorted(store.keys(_prefix(environment))):
            try:
                store.get_file(key, arriving)
            except NoSuchObject:
                # Another run has just moved it.
                continue
            try:
                check(arriving)
            except UsageError as refusal:
                reason = str(refusal).replace(str(arriving), key)
                log.info(f"quarantined: {reason}")
                _quarantine(store, environment, arriving, reason)
                _delete_if_same(store, key, arriving)
            else:
                arriving.rename(folder / f"{sha256_of(arriving)}.npz")
    arriving.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        raise NoEpisodes(
            f"no episodes of {environment} in {store.describe()} yet: `qc episodes push` adds some"
        )


def list_episodes(store: ObjectStore) -> Iterator[dict[str, str | None]]:
    """Environment, key and, where it is in quarantine, the reason of every file."""
    for key in sorted(store.keys(_ROOT)):
        if not key.startswith(_QUARANTINE):
            environment = key.removeprefix(_ROOT).rpartition("/")[0]
            yield {"environment": environment, "key": key, "reason": None}
        elif key.endswith("/" + _REASON):
            environment = key.removeprefix(_QUARANTINE).rpartition("/")[0].rpartition("/")[0]
            reason = _reason(store, key)
            yield {"environment": environment, "key": key, "reason": reason}


def _reason(store: ObjectStore, key: str) -> str:
    try:
        return str(parse_json(store.get(key))["reason"])
    except (NoSuchObject, ValueError, KeyError, TypeError):
        return "the reason is not readable"


def _push(
    store: ObjectStore, environment: str, file: Path, check: UploadCheck, known: set[str]
) -> Upload:
    try:
        episodes = check(file)
    except UsageError as refusal:
        reason = str(refusal).replace(str(file), file.name)
        return Upload(
            str(file), _quarantine(store, environment, file, reason), "quarantined", reason=reason
        )
    key = f"{_prefix(environment)}{sha256_of(file)}.npz"
    if key in known:
        return Upload(str(file), key, "known", episodes)
    store.put_file(key, file)
    known.add(key)
    return Upload(str(file), key, "accepted", episodes)


def _quarantine(store: ObjectStore, environment: str, file: Path, reason: str) -> str:
    prefix = f"{_QUARANTINE}{environment}/{sha256_of(file)}/"
    store.put_file(prefix + _EPISODES, file)
    told = {
        "environment": environment,
        "reason": reason,
        "quarantined": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    store.put(prefix + _REASON, (json.dumps(told, indent=2) + "\n").encode())
    return prefix + _EPISODES


def _delete_if_same(store: ObjectStore, key: str, file: Path) -> None:
    """Remove an object unless somebody has put another in its place meanwhile."""
    again = file.with_name(".again")
    try:
        store.get_file(key, again)
    except NoSuchObject:
        return
    if sha256_of(again) == sha256_of(file):
        store.delete(key)
    again.unlink()


def _prefix(environment: str) -> str:
    return f"{_ROOT}{environment}/"

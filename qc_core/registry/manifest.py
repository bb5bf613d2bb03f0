"""The manifest of a policy version: its files, checksums and origin.

A version exists while its manifest exists. The manifest is written last and deleted first.

policies/NAME/versions/VERSION/manifest.json   the manifest
policies/NAME/versions/VERSION/checkpoint/…    the checkpoint that the policy was exported from
policies/NAME/versions/VERSION/deleting/STAMP  marks a deletion in progress
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from qc_core import documents
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import RunError, UsageError
from qc_core.log import log
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.data_source import DataSummary
from qc_core.policy_format.policy_folder import CHECKSUMS, CONTENTS, SIGNATURE, read_contract
from qc_core.statistics import Estimate
from qc_core.store.file_record import FileRecord, record_of
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.timestamps import older_than

SCHEMA_VERSION = 2
FILES = (*CONTENTS, CHECKSUMS)
# A deletion takes seconds. An older mark belongs to a deletion that was interrupted.
_DELETION = timedelta(hours=1)
_NAMES_BEFORE_2 = {"run": "run-id"}


class DamagedManifest(RunError):
    """The manifest of an existing version cannot be read."""


class Manifest(Document, frozen=True, kw_only=True):
    """What a version contains and where it comes from. Older manifests lack some fields.

    Attributes:
        created: time of publication, ISO 8601 in UTC.
        run_id: the pipeline run that published the version, or None.
        success: success rate in the evaluation; None if the policy was not evaluated, or the
            environment does not report success.
        parent: NAME:VERSION of the policy whose weights the training started from, or None.
        data: the sources of the training data.
        checkpoint: whether the checkpoint is stored with the version.
        files: size and checksum of each file of the policy folder.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    created: str
    run_id: str | None = None
    environment: str | None = None
    method: str | None = None
    success: Estimate | None
    parent: str | None = None
    data: tuple[DataSummary, ...] = ()
    checkpoint: bool = False
    files: dict[str, FileRecord]

    def __post_init__(self) -> None:
        missing = [name for name in FILES if name not in self.files]
        if missing:
            raise InvalidDocument(f"'files' lacks {', '.join(missing)}")

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        # The first manifests had no schema version.
        if content.get("schema-version", 1) != 1:
            return content
        renamed = documents.with_keys_renamed(content, _NAMES_BEFORE_2)
        return {**renamed, "schema-version": SCHEMA_VERSION}

    @property
    def is_signed(self) -> bool:
        return SIGNATURE in self.files


def versions_prefix(name: str) -> str:
    return f"policies/{name}/versions/"


def version_prefix(name: str, version: str) -> str:
    return f"{versions_prefix(name)}{version}/"


def manifest_key(name: str, version: str) -> str:
    return version_prefix(name, version) + "manifest.json"


def deleting_prefix(name: str, version: str) -> str:
    return version_prefix(name, version) + "deleting/"


def checkpoint_prefix(name: str, version: str) -> str:
    return version_prefix(name, version) + "checkpoint/"


def describe_folder(
    folder: Path,
    name: str,
    version: str,
    *,
    run_id: str | None,
    checkpoint: bool,
    signature: FileRecord | None = None,
) -> Manifest:
    """Return the manifest for a policy folder that will be published as this version.

    Args:
        run_id: the pipeline run that exported the policy, or None.
        checkpoint: whether the checkpoint is stored with the version.
        signature: size and checksum of the signature, or None.
    """
    contract = read_contract(folder)
    files = {file: record_of(folder / file) for file in FILES}
    return Manifest(
        name=name,
        version=version,
        created=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        run_id=run_id,
        environment=contract.environment,
        method=contract.method,
        success=_success(contract),
        parent=contract.provenance.parent,
        data=_sources(contract),
        checkpoint=checkpoint,
        files=files | ({SIGNATURE: signature} if signature else {}),
    )


def _success(contract: Contract) -> Estimate | None:
    evaluation = contract.evaluation
    return evaluation.success if evaluation and evaluation.reports_success else None


def _sources(contract: Contract) -> tuple[DataSummary, ...]:
    source = contract.provenance.dataset_source
    return tuple(part.summary() for part in source.parts) if source else ()


def read_manifest(store: ObjectStore, name: str, version: str) -> Manifest:
    """Return the manifest of a version (UsageError: no such version; DamagedManifest)."""
    key, content = manifest_key(name, version), _content(store, name, version)
    try:
        return documents.parse(content, Manifest, key)
    except UsageError as error:
        raise DamagedManifest(
            f"{key} in {store.describe()} is damaged: publish the policy again, "
            f"`qc policies delete {name}:{version}` removes this version"
        ) from error


def read_manifests(store: ObjectStore, name: str) -> Iterator[tuple[str, Manifest]]:
    """Yield the versions of a name with their manifests; log and skip damaged manifests."""
    for version in store.folders(versions_prefix(name)):
        try:
            yield version, read_manifest(store, name, version)
        except UsageError:
            # Without a manifest it is no version: its upload is not finished.
            continue
        except DamagedManifest as error:
            log.info(f"skipped: {error}")


def require_version(store: ObjectStore, name: str, version: str) -> None:
    """Refuse a version that does not exist (UsageError); its manifest may be damaged."""
    _content(store, name, version)


def is_lasting(store: ObjectStore, name: str, version: str) -> bool:
    """Return whether a version exists and is not being deleted."""
    keys = set(store.keys(version_prefix(name, version)))
    prefix = deleting_prefix(name, version)
    marks = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    return manifest_key(name, version) in keys and all(
        older_than(mark, _DELETION) for mark in marks
    )


def _content(store: ObjectStore, name: str, version: str) -> bytes:
    try:
        return store.get(manifest_key(name, version))
    except NoSuchObject as error:
        raise UsageError(
            f"there is no version {version!r} of policy {name!r}: `qc policies` lists them"
        ) from error

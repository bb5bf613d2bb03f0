"""The manifest of a version: what it holds, written last; while it is there, the version is.

policies/NAME/versions/VERSION/manifest.json   which files, their sizes and checksums, from where
policies/NAME/versions/VERSION/checkpoint/…    what it was exported from, to train on from
policies/NAME/versions/VERSION/deleting/STAMP  somebody is about to delete the version
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields, sha256_of
from qc_core.log import log
from qc_core.policy_format.data_source import sources_in
from qc_core.policy_format.policy_folder import CHECKSUMS, CONTENTS, SIGNATURE, read_contract
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.timestamps import older_than

FILES = (*CONTENTS, CHECKSUMS)
# A deletion takes moments: one that was killed is no hindrance for long.
_DELETION = timedelta(hours=1)
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "version": str,
    "files": dict,
    "success": (dict, type(None)),
    "created": str,
}
_LATER_FIELDS: dict[str, type | tuple[type, ...]] = {
    "run": (str, type(None)),
    "parent": (str, type(None)),
    "data": list,
    "checkpoint": bool,
}
_SOURCE_FIELDS: dict[str, type | tuple[type, ...]] = {
    "kind": (str, type(None)),
    "transitions": (int, type(None)),
    "episodes": (int, type(None)),
    "digest": (str, type(None)),
}
_ESTIMATE_FIELDS: dict[str, type | tuple[type, ...]] = dict.fromkeys(
    ("value", "low", "high"), (int, float)
)


class DamagedManifest(RunError):
    """The version was there once; what it holds cannot be told any more."""


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
    folder: Path, name: str, version: str, run: str | None, *, checkpoint: bool
) -> dict[str, Any]:
    """The manifest of a policy folder that is to be this version.

    Args:
        run: from which run of the pipeline it comes.
        checkpoint: its checkpoint is kept beside it.
    """
    contract = read_contract(folder)
    evaluation = contract["evaluation"]
    told = evaluation is not None and evaluation.get("success-told", True)
    provenance = contract.get("provenance", {})
    return {
        "name": name,
        "version": version,
        "created": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        "run": run,
        "environment": contract["environment"],
        "method": contract["method"],
        "success": evaluation["success"] if evaluation and told else None,
        "parent": provenance.get("parent"),
        "data": _sources(provenance),
        "checkpoint": checkpoint,
        "files": {
            file: {"bytes": (folder / file).stat().st_size, "sha256": sha256_of(folder / file)}
            for file in FILES
        },
    }


def _sources(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Kind, counts and digest of each source of the data that made a policy, as far as known."""
    source = provenance.get("dataset-source")
    sources = [] if source is None else sources_in(source)
    return [{field: entry.get(field) for field in _SOURCE_FIELDS} for entry in sources]


def read_manifest(store: ObjectStore, name: str, version: str) -> dict[str, Any]:
    """The manifest of a version (UsageError: there is no such version; DamagedManifest)."""
    key, content = manifest_key(name, version), _content(store, name, version)
    try:
        manifest = parse_json(content)
        require_fields(manifest, _FIELDS, key)
        if manifest["success"] is not None:
            require_fields(manifest["success"], _ESTIMATE_FIELDS, key)
        # Versions of the first kind do not say where they come from.
        manifest = {"run": None, "parent": None, "data": [], "checkpoint": False, **manifest}
        require_fields(manifest, _LATER_FIELDS, key)
        for source in manifest["data"]:
            require_fields(source, _SOURCE_FIELDS, key)
        signature = [SIGNATURE] if SIGNATURE in manifest["files"] else []
        for file in (*FILES, *signature):
            described = manifest["files"].get(file)
            require_fields(described, {"bytes": int, "sha256": str}, f"{key}, {file}")
    except (ValueError, UsageError) as error:
        raise DamagedManifest(
            f"{key} in {store.describe()} is damaged: publish the policy again, "
            f"`qc policies delete {name}:{version}` removes this version"
        ) from error
    return manifest


def read_manifests(store: ObjectStore, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The versions of a name with their manifests; of a damaged one is told, and the rest go on."""
    for version in store.folders(versions_prefix(name)):
        try:
            yield version, read_manifest(store, name, version)
        except UsageError:
            # Not finished yet, or never: not a version.
            continue
        except DamagedManifest as error:
            log.info(f"passed over: {error}")


def require_version(store: ObjectStore, name: str, version: str) -> None:
    """Refuse a version that is not there (UsageError); one whose manifest is damaged is."""
    _content(store, name, version)


def is_lasting(store: ObjectStore, name: str, version: str) -> bool:
    """Whether a version is there and nobody is about to delete it."""
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

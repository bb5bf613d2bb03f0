"""Whole folders in a store.

PREFIX/…              the folder's files
PREFIX/manifest.json  their sizes and checksums, written last: then the folder exists
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields, sha256_of, staged_folder
from qc_core.store.objects import NoSuchObject, ObjectStore

_MANIFEST = "manifest.json"


def put_folder(store: ObjectStore, prefix: str, folder: Path) -> None:
    """Put the files of a folder under a prefix that ends in '/' and that nothing has used yet."""
    files = sorted(folder.iterdir())
    manifest = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in files
    }
    for file in files:
        store.put_file(prefix + file.name, file)
    store.put(prefix + _MANIFEST, json.dumps({"files": manifest}, sort_keys=True).encode())


def get_folder(store: ObjectStore, prefix: str, output: Path) -> None:
    """Fetch a folder to a new place and verify it.

    Raises:
        NoSuchObject: there is none, or not the whole of it yet.
        RunError: an object is missing, truncated or altered; the message names it.
    """
    manifest = _read_manifest(store, prefix)
    with staged_folder(output) as staging:
        for name, expected in manifest.items():
            key, file = prefix + name, staging / name
            try:
                store.get_file(key, file)
            except NoSuchObject as error:
                raise RunError(f"{key} is missing in {store.describe()}") from error
            if (size := file.stat().st_size) != expected["bytes"]:
                raise RunError(
                    f"{key} is truncated: {expected['bytes']} bytes are expected, got {size}"
                )
            if sha256_of(file) != expected["sha256"]:
                raise RunError(f"{key} is altered: its checksum is not the one it was put with")


def delete_folder(store: ObjectStore, prefix: str) -> None:
    """Remove a folder under a prefix that ends in '/'; it is gone at once."""
    # Broken off, a deletion leaves parts that nobody takes for a folder.
    store.delete(prefix + _MANIFEST)
    store.delete_folder(prefix)


def _read_manifest(store: ObjectStore, prefix: str) -> dict[str, dict[str, Any]]:
    key = prefix + _MANIFEST
    content = store.get(key)
    try:
        manifest = parse_json(content)
        require_fields(manifest, {"files": dict}, key)
        for name, described in manifest["files"].items():
            require_fields(described, {"bytes": int, "sha256": str}, f"{key}, {name}")
            if name in ("", ".", "..") or Path(name).name != name:
                raise UsageError(f"{key} names {name!r}, which is no file of a folder")
    except (ValueError, UsageError) as error:
        raise RunError(f"{key} in {store.describe()} is damaged") from error
    return manifest["files"]

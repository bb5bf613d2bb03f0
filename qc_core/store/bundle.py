"""Folders in a store.

PREFIX/…              the folder's files
PREFIX/manifest.json  their sizes and checksums; the folder exists once this object is written
"""

from __future__ import annotations

from pathlib import Path

from qc_core import documents
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import UsageError
from qc_core.files import staged_folder
from qc_core.store.file_record import FileRecord, fetch_file, record_of
from qc_core.store.objects import DamagedObject, NoSuchObject, ObjectStore

_MANIFEST = "manifest.json"


class BundleManifest(Document, frozen=True, kw_only=True):
    """The files of a folder in a store, by name."""

    files: dict[str, FileRecord]

    def __post_init__(self) -> None:
        for name in self.files:
            if name in ("", ".", "..") or Path(name).name != name:
                raise InvalidDocument(f"{name[:50]!r} is not a file name")


def put_folder(store: ObjectStore, prefix: str, folder: Path) -> None:
    """Upload the files of a folder under an unused prefix that ends in '/'."""
    files = sorted(folder.iterdir())
    manifest = BundleManifest(files={file.name: record_of(file) for file in files})
    for file in files:
        store.put_file(prefix + file.name, file)
    store.put(prefix + _MANIFEST, documents.encode(manifest))


def get_folder(store: ObjectStore, prefix: str, output: Path) -> None:
    """Download a folder to a new place and verify it.

    Raises:
        NoSuchObject: the folder does not exist, or its upload is not finished.
        DamagedObject: an object is missing, truncated or altered; the message names it.
    """
    manifest = _read_manifest(store, prefix)
    with staged_folder(output) as staging:
        for name, expected in manifest.files.items():
            try:
                fetch_file(store, prefix + name, expected, staging / name)
            except NoSuchObject as error:
                raise DamagedObject(f"{prefix + name} is missing in {store.describe()}") from error


def delete_folder(store: ObjectStore, prefix: str) -> None:
    """Remove a folder under a prefix that ends in '/'; readers stop seeing it at once."""
    # Without its manifest the folder no longer exists, even if the deletion is interrupted.
    store.delete(prefix + _MANIFEST)
    store.delete_folder(prefix)


def _read_manifest(store: ObjectStore, prefix: str) -> BundleManifest:
    key = prefix + _MANIFEST
    content = store.get(key)
    try:
        return documents.parse(content, BundleManifest, key)
    except UsageError as error:
        raise DamagedObject(f"{key} in {store.describe()} is damaged") from error

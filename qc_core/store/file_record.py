"""Size and checksum of a file in a store, with which a download is verified."""

from __future__ import annotations

from pathlib import Path

from qc_core.documents import Document
from qc_core.files import sha256_of
from qc_core.store.objects import DamagedObject, ObjectStore


class FileRecord(Document, frozen=True, kw_only=True):
    """Size in bytes and hexadecimal SHA-256 of a file."""

    bytes: int
    sha256: str


def record_of(path: Path) -> FileRecord:
    """Return the size and checksum of a local file."""
    return FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))


def fetch_file(store: ObjectStore, key: str, expected: FileRecord, target: Path) -> None:
    """Download an object to a file and verify it.

    Raises:
        NoSuchObject: the object does not exist.
        DamagedObject: the object is truncated or altered; the message names it.
    """
    store.get_file(key, target)
    if (size := target.stat().st_size) != expected.bytes:
        raise DamagedObject(f"{key} is truncated: {expected.bytes} bytes are expected, got {size}")
    if sha256_of(target) != expected.sha256:
        raise DamagedObject(f"{key} is altered: its checksum is not the published one")

"""A store in a folder, the default on one machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qc_core.errors import WrongUse
from qc_core.files import staged_file, write_atomically
from qc_core.store.objects import PROBE, NoSuchObject


class FolderStore:
    """Objects are files; each is written aside and renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()

    def describe(self) -> str:
        return str(self._root)

    def put(self, key: str, content: bytes) -> None:
        with self._writing():
            write_atomically(self._path(key), content)

    def put_file(self, key: str, path: Path) -> None:
        with self._writing(), staged_file(self._path(key)) as staging:
            shutil.copyfile(path, staging)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NoSuchObject(key) from error

    def get_file(self, key: str, path: Path) -> None:
        try:
            shutil.copyfile(self._path(key), path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NoSuchObject(key) from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._writing():
            path.unlink(missing_ok=True)
        # Folders are there while something is in them, as in a bucket.
        with suppress(OSError):
            while (path := path.parent) != self._root:
                path.rmdir()

    def keys(self, prefix: str) -> Iterator[str]:
        for folder, _, names in os.walk(self._path(prefix)):
            for name in names:
                # A dot begins the name of what is still being written.
                if not name.startswith("."):
                    yield (Path(folder) / name).relative_to(self._root).as_posix()

    def folders(self, prefix: str) -> list[str]:
        folder = self._path(prefix)
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())

    def check(self) -> None:
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        if not existing.is_dir():
            raise WrongUse(f"the store {self._root} cannot be a folder: {existing} is a file")

    def require_writable(self) -> None:
        with self._writing(), staged_file(self._path(PROBE)) as staging:
            staging.write_bytes(b"")
        self.delete(PROBE)

    def _path(self, key: str) -> Path:
        return self._root / key

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WrongUse(
                f"the store {self._root} cannot be written ({error.strerror}): "
                "set QC_STORE to a folder that can, or to s3://bucket/prefix"
            ) from error

"""A store in a folder, the default on a single machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qc_core.errors import RunError, UsageError
from qc_core.files import staged_file, unreadable, write_atomically
from qc_core.store.objects import PROBE, NoSuchObject

_LOCK = ".lock"
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_BLOCK = 1 << 20
_OTHER_STORE = "set QC_STORE to a folder that can, or to s3://bucket/prefix"


class FolderStore:
    """Stores objects as files. Each file is written under another name and then renamed."""

    def __init__(self, root: Path, *, lock_timeout: float = 30.0) -> None:
        """
        Args:
            lock_timeout: seconds to wait for the lock of conditional writes. Writers hold it only
                while they compare and rename one small file.
        """
        self._root = root.expanduser().absolute()
        self._lock_timeout = lock_timeout

    def describe(self) -> str:
        return str(self._root)

    def put(self, key: str, content: bytes) -> None:
        with self._writing():
            write_atomically(self._path(key), content)

    def put_file(self, key: str, path: Path) -> None:
        with self._writing(), staged_file(self._path(key)) as staging:
            shutil.copyfile(path, staging)

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        with self._writing(), self._locked():
            try:
                now, now_tag = self.get_tagged(key)
            except NoSuchObject:
                now, now_tag = None, None
            if now_tag == tag:
                write_atomically(self._path(key), content)
                return True
        return now == content

    def get(self, key: str) -> bytes:
        with self._reading(key):
            return self._path(key).read_bytes()

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        content = self.get(key)
        return content, hashlib.sha256(content).hexdigest()

    def get_file(self, key: str, path: Path) -> None:
        with self._reading(key):
            source = self._path(key).open("rb")
        # Later errors may concern the target, so they are not reported as errors of the store.
        with source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)

    def delete(self, key: str) -> None:
        with self._writing():
            self._path(key).unlink(missing_ok=True)

    def delete_folder(self, prefix: str) -> None:
        with self._writing(), suppress(FileNotFoundError):
            shutil.rmtree(self._path(prefix))

    def keys(self, prefix: str) -> Iterator[str]:
        with self._reading(prefix):
            for folder, _, names in os.walk(self._path(prefix), onerror=_unless_missing):
                for name in names:
                    # Files that are being written have names that start with a dot.
                    if not name.startswith("."):
                        yield (Path(folder) / name).relative_to(self._root).as_posix()

    def folders(self, prefix: str) -> list[str]:
        try:
            with self._reading(prefix):
                return sorted(
                    entry.name for entry in self._path(prefix).iterdir() if entry.is_dir()
                )
        except NoSuchObject:
            return []

    def check(self) -> None:
        with self._reading(""):
            existing = next(path for path in (self._root, *self._root.parents) if path.exists())
            if not existing.is_dir():
                raise UsageError(f"the store {self._root} cannot be a folder: {existing} is a file")
            if existing == self._root:
                next(existing.iterdir(), None)

    def require_writable(self) -> None:
        with self._writing(), staged_file(self._path(PROBE)) as staging:
            staging.write_bytes(b"")
        self.delete(PROBE)

    def _path(self, key: str) -> Path:
        return self._root / key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock; the system releases the lock of a process that dies."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK).open("a") as lock:
            deadline = time.monotonic() + self._lock_timeout
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise RunError(
                            f"another process has held {self._root / _LOCK} for "
                            f"{self._lock_timeout:.0f} s: end it and try again"
                        ) from error
                    time.sleep(0.005)
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"the store {self._root} cannot be written ({error.strerror}): {_OTHER_STORE}"
            ) from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Convert a missing file to NoSuchObject and other system errors to one line."""
        try:
            yield
        except _MISSING as error:
            raise NoSuchObject(key) from error
        except OSError as error:
            raise unreadable(f"the store {self._root}", error, _OTHER_STORE) from error


def _unless_missing(error: OSError) -> None:
    """Treat a missing folder as empty; raise other errors."""
    if not isinstance(error, _MISSING):
        raise error

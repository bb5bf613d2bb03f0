"""Temporary folders that are removed with the block that uses them.

A process that is killed leaves its files and folders. The next process that makes one in the same
place removes them: their locks are free, because the system releases the locks of a process that
ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core.errors import UsageError

# Names of this product's temporary files and folders: next to what they will become, and in the
# system's temporary folder.
STAGED, SCRATCH = "qc-", "q-chunking-"
_TEMPORARY = re.compile(rf"(\..+\.{STAGED}|{SCRATCH}[a-z]+-)[0-9a-f]{{8}}(\.\w+)?")
# A younger folder may belong to a process that has not locked it yet.
_MIN_AGE_SECONDS = 60.0


@contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """Make a private folder `q-chunking-KIND-…` in the system's temporary folder."""
    with temporary_folder(Path(tempfile.gettempdir()), f"{SCRATCH}{kind}-") as folder:
        folder.chmod(0o700)
        yield folder


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder with a unique name; its permissions follow the umask.

    It is deleted after the block, unless the block has renamed it.

    Args:
        prefix: of the name; `.NAME.qc-` for a folder that will be renamed to NAME.
    """
    remove_leftovers(parent)
    folder = parent / temporary_name(prefix)
    folder.mkdir()
    lock = try_lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def temporary_name(prefix: str, suffix: str = "") -> str:
    """Return a unique name that `remove_leftovers` recognises."""
    return f"{prefix}{secrets.token_hex(4)}{suffix}"


@contextmanager
def exclusive(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder for the block; the system releases the lock of a process that dies.

    Raises:
        UsageError: another process has locked it.
    """
    lock = try_lock(folder)
    try:
        if lock is None:
            raise UsageError(
                f"{what} is already running in {folder}: wait for it, or end it to resume it here"
            )
        yield
    finally:
        if lock is not None:
            os.close(lock)


def try_lock(path: Path) -> int | None:
    """Lock a file or a folder; return its descriptor, whose closing releases the lock.

    Returns:
        None if another process has the lock, or if the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_leftovers(parent: Path) -> list[Path]:
    """Delete this user's temporary files and folders whose processes have ended.

    Returns:
        What was deleted in this folder; other folders in it are not searched.
    """
    removed: list[Path] = []
    newest = time.time() - _MIN_AGE_SECONDS
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parent)):
            if not _TEMPORARY.fullmatch(entry.name) or entry.is_symlink():
                continue
            path = Path(entry.path)
            # Another process may remove it first.
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_uid != os.getuid() or status.st_mtime > newest:
                    continue
                if (lock := try_lock(path)) is None:
                    continue
                if entry.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
                os.close(lock)
                removed.append(path)
    return removed

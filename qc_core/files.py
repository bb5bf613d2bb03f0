"""Atomic writes of files and folders, and reads with one-line errors.

A file or folder is written under a temporary name and renamed, so that readers see all or nothing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qc_core.errors import QCError, RunError, TransientError, UsageError
from qc_core.scratch import (
    STAGED,
    remove_leftovers,
    temporary_folder,
    temporary_name,
    try_lock,
)

_BLOCK = 1 << 20
# The disk is full, or the quota of the user is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Maximum characters of a path in a message.
_MAX_SHOWN = 200
_LFS_POINTER = b"version https://git-lfs."
_REMEDY = "check the path and its permissions"


class Unwritable(UsageError, OSError):
    """A place cannot be written; callers that catch OSError can add what it is for."""


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` on success, and is deleted on an error.

    Raises:
        UsageError: `target` contains files, or cannot be written.
        TransientError: the disk is full.
    """
    require_vacant(target, staged=True)
    with _staged(target, replace=False) as staging:
        yield staging


@contextmanager
def replaced_folder(target: Path, marker: str, what: str) -> Iterator[Path]:
    """As `staged_folder`, but `target` may be a folder of the same kind, which is replaced.

    Args:
        marker: a file that every such folder has; a folder without it is not replaced.
        what: the kind of folder, for error messages.
    """
    if not (target / marker).is_file():
        try:
            require_vacant(target, staged=True)
        except UsageError as error:
            raise UsageError(f"{target} is not {what}, and is not replaced: {error}") from error
    with _staged(target, replace=True) as staging:
        yield staging


@contextmanager
def _staged(target: Path, *, replace: bool) -> Iterator[Path]:
    target = Path(target).resolve()
    with contextlib.ExitStack() as opened:
        with _write_errors(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            staging = opened.enter_context(
                temporary_folder(target.parent, f".{target.name}.{STAGED}")
            )
        with writing_to(target.parent):
            yield staging
        with _write_errors(target):
            _sync_tree(staging)
            if replace and target.exists():
                old = opened.enter_context(temporary_folder(target.parent, f".{target.name}.old."))
                os.replace(target, old)
            os.replace(staging, target)
            _sync(target.parent)


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    """Turn errors of the operating system into Unwritable, or TransientError for a full disk."""
    try:
        with writing_to(target):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        refusal = Unwritable(f"cannot write to {str(target)[:_MAX_SHOWN]}: {reason}")
        refusal.strerror = reason
        raise refusal from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into TransientError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise TransientError(f"{folder} has no room left: {error.strerror}") from error


def require_space(folder: Path, size: int) -> None:
    """Raise RunError if the disk has too little free space.

    Args:
        size: bytes that will be written below the folder.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RunError(
            f"{folder} has room for {free / 1e6:,.0f} MB, {size / 1e6:,.0f} MB are needed"
        )


def require_vacant(target: Path, *, staged: bool = False) -> None:
    """Raise UsageError unless `target` is an empty folder or can become one.

    Args:
        staged: `staged_folder` will write it, which needs a writable parent.
    """
    with _path_errors(target):
        place = target.resolve()
        in_use = place.exists() and (not place.is_dir() or any(place.iterdir()))
    if in_use:
        raise UsageError(f"{target} is in use: choose another output or delete it first")
    require_writable(place.parent if staged else place)


def require_file_place(target: Path) -> None:
    """Raise UsageError unless `target` is a file or can become one."""
    with _path_errors(target):
        is_other = target.exists() and not target.is_file()
    if is_other:
        raise UsageError(f"{target} is not a file: choose another output or delete it first")
    require_writable(target.parent)


def require_new_file(target: Path) -> None:
    """Raise UsageError unless `target` does not exist and can become a file."""
    require_file_place(target)
    if target.exists():
        raise UsageError(f"{target} is in use: choose another output or delete it first")


def require_writable(folder: Path) -> None:
    """Raise UsageError unless files can be written to `folder`, which may have to be made."""
    with _path_errors(folder):
        place = folder.resolve()
        nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"cannot write to {folder}: {nearest} is not a folder")
    # Permissions alone do not decide, such as on a read-only mount: try it with a nameless file.
    with _write_errors(nearest), tempfile.TemporaryFile(dir=nearest):
        pass


@contextmanager
def _path_errors(target: Path) -> Iterator[None]:
    """Turn errors of impossible paths, such as a loop of links, into UsageError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot write to {str(target)[:_MAX_SHOWN]!r}: {reason}") from error


def require_file(path: Path) -> None:
    """Raise UsageError if `path` exists and is not a file but a folder, a device or a pipe."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file")


def require_content(path: Path) -> None:
    """Raise UsageError if `path` is not a file, or is a pointer of Git LFS instead of the file."""
    require_file(path)
    with path.open("rb") as file:
        is_pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
    if is_pointer:
        raise UsageError(
            f"{path} is a pointer of Git LFS, the file itself was not downloaded: run git lfs pull"
        )


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a file that replaces `target` on success, and is deleted on an error.

    A reader sees the old file or the new file, both complete.

    Raises:
        UsageError: `target` exists and is not a file, or cannot be written.
        TransientError: the disk is full.
    """
    with _write_errors(target):
        # Otherwise the rename would replace a device.
        require_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(target.parent)
        staging = target.with_name(temporary_name(f".{target.stem}.{STAGED}", target.suffix))
        staging.touch(exist_ok=False)
        lock = try_lock(staging)
        try:
            yield staging
            _sync(staging)
            staging.replace(target)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
        finally:
            if lock is not None:
                os.close(lock)


@functools.lru_cache(maxsize=1024)
def _clean_once(folder: Path) -> None:
    """Remove what killed processes have left in a folder, once in the life of this process."""
    remove_leftovers(folder)


def _sync(path: Path) -> None:
    """Write a file or a folder's entries to the disk.

    Without this, the file may be empty after a power failure, or missing from the folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Write a folder with all its files to the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the content of a file (raises as `staged_file`)."""
    with staged_file(path) as staging:
        staging.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with sorted keys, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of the operating system while reading into those of `unreadable`."""
    try:
        yield
    except OSError as error:
        raise unreadable(str(error.filename or path), error) from error


def unreadable(what: str, error: OSError, to_do: str = _REMEDY) -> QCError:
    """Return the one-line error for a file that cannot be read.

    Args:
        what: the file or object.
        to_do: the remedy.

    Returns:
        UsageError for a path that is too long, RunError for a missing file or permission, else
        TransientError.
    """
    message = f"{what[:_MAX_SHOWN]} cannot be read ({error.strerror}): {to_do}"
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(message)
    permanent = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
    return RunError(message) if isinstance(error, permanent) else TransientError(message)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: it does not exist, is not a file, or is not JSON.
        QCError: it cannot be read, as `unreadable`.
    """
    try:
        require_content(path)
        return parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    except ValueError as error:
        raise UsageError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from error


def parse_json(content: str | bytes) -> Any:
    """Parse JSON of untrusted origin (ValueError: invalid, or nested too deeply)."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file (raises as `reading`)."""
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

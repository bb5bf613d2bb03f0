"""Whole or absent: folders and files are written aside and renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qc_core.errors import QCError, RunError, TransientError, UsageError

_BLOCK = 1 << 20
# The disk is full, or the person's share of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Of a path in a message, which may be as long as a person likes.
_SHOWN = 200
_TO_DO = "check the path and its permissions"


class Unwritable(UsageError, OSError):
    """A place that cannot be written; who knows what it is for catches OSError and says more."""


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; on success it becomes `target`, else it is gone.

    Raises:
        UsageError: `target` holds files already, or its place cannot be written.
        TransientError: the disk is full.
    """
    require_vacant(target, staged=True)
    target = Path(target).resolve()
    with _telling(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        # mkdtemp makes a private folder; an artifact is for others to read.
        staging.chmod(0o755)
        with writing_to(target.parent):
            yield staging
        with _telling(target):
            os.replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Make what the system says of a place that it does not let write one line."""
    try:
        with writing_to(target):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        refusal = Unwritable(f"cannot write to {str(target)[:_SHOWN]}: {reason}")
        refusal.strerror = reason
        raise refusal from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a full disk one line (TransientError)."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise TransientError(f"{folder} has no room left: {error.strerror}") from error


def require_space(folder: Path, size: int) -> None:
    """Refuse to start what the disk has no room for (RunError).

    Args:
        size: bytes that will be written below the folder.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RunError(
            f"{folder} has room for {free / 1e6:,.0f} MB, {size / 1e6:,.0f} MB are needed"
        )


def require_vacant(target: Path, *, staged: bool = False) -> None:
    """Refuse a target that is not an empty folder and cannot become one (UsageError).

    Args:
        staged: it will be written aside and renamed, for which its parent must be writable.
    """
    with _possible(target):
        place = target.resolve()
        in_use = place.exists() and (not place.is_dir() or any(place.iterdir()))
    if in_use:
        raise UsageError(f"{target} is in use: choose another output or delete it first")
    require_writable(place.parent if staged else place)


def require_file_place(target: Path) -> None:
    """Refuse a target that is no file and cannot become one; a file may be there (UsageError)."""
    with _possible(target):
        is_other = target.exists() and not target.is_file()
    if is_other:
        raise UsageError(f"{target} is not a file: choose another output or delete it first")
    require_writable(target.parent)


def require_new_file(target: Path) -> None:
    """As `require_file_place`, and nothing may be there yet (UsageError)."""
    require_file_place(target)
    if target.exists():
        raise UsageError(f"{target} is in use: choose another output or delete it first")


def require_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, or that cannot be made (UsageError)."""
    with _possible(folder):
        place = folder.resolve()
        nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"cannot write to {folder}: {nearest} is not a folder")
    # Only the attempt tells; the file has no name, or loses it at once.
    with _telling(nearest), tempfile.TemporaryFile(dir=nearest):
        pass


@contextmanager
def _possible(target: Path) -> Iterator[None]:
    """Make what no path can be, such as a loop of links, one line (UsageError)."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot write to {str(target)[:_SHOWN]!r}: {reason}") from error


def require_file(path: Path) -> None:
    """Refuse what is there and is no file: a folder, a device, a pipe (UsageError)."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file")


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Give a file beside `target` to write; on success it replaces `target`, else it is gone.

    A reader sees the old file or the new one, never a part.

    Raises:
        UsageError: `target` is there and no file (a device would be gone), or cannot be written.
        TransientError: the disk is full.
    """
    with _telling(target):
        require_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
        staging = Path(name)
        try:
            yield staging
            staging.chmod(0o644)
            _sync(staging)
            staging.replace(target)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    """Without this, what bears the new name after a loss of power may be empty."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, whole."""
    with staged_file(path) as staging:
        staging.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with stable key order, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make what the system does not give us to read one line, as `unreadable` has it."""
    try:
        yield
    except OSError as error:
        raise unreadable(str(error.filename or path), error) from error


def unreadable(what: str, error: OSError, to_do: str = _TO_DO) -> QCError:
    """The one line for a person.

    Returns:
        UsageError where no path can be that long, RunError where something is missing or not ours
        to read, TransientError where the machine does not give it.
    """
    told = f"{what[:_SHOWN]} cannot be read ({error.strerror}): {to_do}"
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(told)
    asked = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
    return RunError(told) if isinstance(error, asked) else TransientError(told)


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is UsageError that names it, else as `reading`."""
    try:
        require_file(path)
        return parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    except ValueError as error:
        raise UsageError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from error


def parse_json(content: str | bytes) -> Any:
    """The value of JSON that others wrote (ValueError: broken, or nested too deeply)."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def require_fields(content: Any, fields: Mapping[str, type | tuple[type, ...]], what: str) -> None:
    """Refuse JSON content that is not an object with these fields of these types (UsageError).

    Args:
        what: the file or object, as the message names it.
    """
    if not isinstance(content, dict):
        raise UsageError(f"{what} must hold a JSON object, got {type(content).__name__}")
    for name, kind in fields.items():
        if name not in content:
            raise UsageError(f"{what} is damaged: {name!r} is missing")
        if not isinstance(content[name], kind):
            got = type(content[name]).__name__
            raise UsageError(f"{what} is damaged: {name!r} cannot be of type {got}")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks (it cannot be: as `reading`)."""
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

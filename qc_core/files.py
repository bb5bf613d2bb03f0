"""Whole or absent: folders and files are written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qc_core.errors import WrongUse

_BLOCK = 1 << 20


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; on success it becomes `target`, else it is gone.

    Raises:
        WrongUse: `target` holds files already, or its place cannot be written.
    """
    target = Path(target)
    require_vacant(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise WrongUse(f"cannot write to {target.parent}: {error.strerror}") from error
    # mkdtemp makes a private folder; an artifact is for others to read.
    staging.chmod(0o755)
    try:
        yield staging
        os.replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def require_vacant(target: Path) -> None:
    """Refuse a target folder that exists and is not empty (WrongUse)."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WrongUse(f"{target} is in use: choose another output folder or delete it first")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, whole, even under a reader's eyes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(staging, 0o644)
        os.replace(staging, path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with stable key order, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is WrongUse that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WrongUse(f"{path} does not exist") from error
    except (ValueError, OSError) as error:
        raise WrongUse(f"{path} is not readable JSON: {error}") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

"""Refuses HDF5 files that are small but would never end, or would fill the memory.

A group can be linked into itself, so that a reader that descends into it never ends. An array
without stored data can have any size. Arrays and links can lead to other files.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from qc_core.errors import UsageError

# Numbers compress by less than this; a recording of zeros would not be one.
_MAX_RATIO = 1000
# Small files may be mostly zeros.
_ALLOWED_BYTES = 256 << 20
_LINK = "is a link, which is not followed: copy it into this file"


def require_harmless(path: Path, file: Any, *, follows_links: bool = False) -> None:
    """Refuse a file with links, with data in other files, or with far more data than it stores.

    Args:
        file: the file, opened with h5py.
        follows_links: whether the reader follows links, which are then refused.

    Raises:
        UsageError: the message names the object and what is wrong.
    """
    import h5py

    # Their types are not known to type checkers.
    h5l, h5o = (importlib.import_module(f"h5py.{name}") for name in ("h5l", "h5o"))
    limit = max(_MAX_RATIO * path.stat().st_size, _ALLOWED_BYTES)
    objects = links = size = 0

    def visit(name: bytes) -> str | None:
        nonlocal objects, links, size
        objects += 1
        item = file[name]
        if isinstance(item, h5py.Group):
            for member in item.id:
                if item.id.links.get_info(member).type == h5l.TYPE_HARD:
                    links += 1
                elif follows_links:
                    shown = member.decode(errors="replace")
                    return f"{str(item.name).rstrip('/')}/{shown} {_LINK}"
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                return f"{item.name} is in another file, which is not read: copy it into this one"
            size += item.nbytes
            if size > limit:
                return (
                    f"{item.name}: the arrays need {size / 1e6:,.0f} MB or more (limit "
                    f"{limit / 1e6:,.0f} MB for a file of {path.stat().st_size / 1e6:,.3f} MB)"
                )
        return None

    # Each object below the root is visited once, even if it is linked several times.
    problem = visit(b"/") or h5o.visit(file.id, visit)
    if problem is not None:
        raise UsageError(f"{path}, {problem}")
    # In a file without loops, every object but the root has one link.
    if links != objects - 1:
        raise UsageError(f"{path}: an object has several links, which are not followed: copy it")

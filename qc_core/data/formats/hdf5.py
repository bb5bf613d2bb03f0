"""Opens HDF5 files of untrusted origin: follows no links and reads no other files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qc_core.data.formats.hdf5_check import require_harmless
from qc_core.errors import UsageError
from qc_core.files import require_content

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HDF5_SUFFIXES = (".hdf5", ".h5")
# Exceptions that the library raises for damaged files.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file (UsageError: the library finds damage while the file is open)."""
    import h5py

    try:
        require_content(path)
        with h5py.File(path, "r") as file:
            require_harmless(path, file)
            yield file
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is not an HDF5 file, or it is damaged: {reason}") from error


def member(path: Path, group: Any, name: str, hint: str = "") -> Any:
    """Return a group or an array inside of a group (UsageError: it is missing, or a link).

    Args:
        hint: added to the message if it is missing.
    """
    import h5py

    what = f"{path}, {group.name.rstrip('/')}/{name}"
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        raise UsageError(f"{what} is missing{hint}")
    if not isinstance(link, h5py.HardLink):
        raise UsageError(f"{what} is a link, which is not followed: copy it into this file")
    return group[name]


def numeric_array(path: Path, group: Any, name: str, hint: str = "") -> Any:
    """Return an array of numbers of this file without reading it (raises as `member`)."""
    import h5py

    array = member(path, group, name, hint)
    what = f"{path}, {group.name.rstrip('/')}/{name}"
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiub":
        raise UsageError(f"{what} must be a numeric array")
    if array.is_virtual or array.external:
        raise UsageError(f"{what} is in another file, which is not read: copy it into this one")
    return array

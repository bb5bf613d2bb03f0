"""Reads arrays of steps from an npz file or from an HDF5 file, block by block.

An array in a group of an HDF5 file has the name `group/array`.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qc_core.data.formats.hdf5 import (
    HDF5_MAGIC,
    HDF5_SUFFIXES,
    member,
    numeric_array,
    opened,
)
from qc_core.data.formats.npz_file import NpzFile, Shapes
from qc_core.data.formats.source import require_finite
from qc_core.errors import UsageError
from qc_core.files import require_content

# Bytes of a small array, such as a list of names.
_MAX_SMALL = 1 << 20
# Groups of an HDF5 file are read to this depth.
_DEPTH = 2


class StepTable(Protocol):
    """Arrays with equally many rows.

    Attributes:
        rows: number of rows.
    """

    rows: int

    @property
    def shapes(self) -> Shapes: ...

    def blocks(self, rows: int) -> Iterator[dict[str, np.ndarray]]: ...


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5 by its content or its name (raises as `require_content`)."""
    require_content(path)
    if path.suffix in HDF5_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in a file (UsageError: it is damaged)."""
    if not is_hdf5(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path} is not an npz file, or it is truncated") from error
    with opened(path) as file:
        return list(_names(file, "", _DEPTH))


def _names(group: Any, prefix: str, depth: int) -> Iterator[str]:
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        found = group[name]
        if isinstance(found, h5py.Dataset):
            yield f"{prefix}{name}"
        elif depth > 1:
            yield from _names(found, f"{prefix}{name}/", depth - 1)


def read_small(path: Path, name: str) -> np.ndarray | None:
    """Return a small array of numbers or texts, or None if the file has none of this name.

    Raises:
        UsageError: it is damaged, too large, or of another type.
    """
    if name not in array_names(path):
        return None
    try:
        if is_hdf5(path):
            with opened(path) as file:
                array = member(path, file, name)
                if array.nbytes > _MAX_SMALL or array.is_virtual or array.external:
                    raise ValueError("it is too large, or in another file")
                values = np.asarray(array.asstr()[()] if array.dtype.kind == "O" else array[()])
        else:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(f"{name}.npy").file_size > _MAX_SMALL:
                    raise ValueError("it is too large")
            with np.load(path, allow_pickle=False) as arrays:
                values = arrays[name]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: array {name!r} cannot be read: {error}") from error
    return values.astype(str) if values.dtype.kind in "SO" else values


@contextlib.contextmanager
def open_table(path: Path, names: Sequence[str]) -> Iterator[StepTable]:
    """Open arrays of a file by name (UsageError: damaged, not numeric, or of unequal length)."""
    if not is_hdf5(path):
        with NpzFile(path, names) as table:
            yield table
        return
    with opened(path) as file:
        yield _Hdf5Table(path, {name: numeric_array(path, file, name) for name in names})


class _Hdf5Table:
    def __init__(self, path: Path, arrays: dict[str, Any]) -> None:
        self._path, self._arrays = path, arrays
        rows = {name: array.shape[0] if array.shape else 0 for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            lengths = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise UsageError(f"{path}: arrays must have equal lengths, got {lengths}")
        self.rows = next(iter(rows.values()))
        if self.rows == 0:
            raise UsageError(f"{path} holds no rows")

    @property
    def shapes(self) -> Shapes:
        return {name: tuple(array.shape[1:]) for name, array in self._arrays.items()}

    def blocks(self, rows: int) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, self.rows, rows):
            block = {n: array[start : start + rows] for n, array in self._arrays.items()}
            for name, values in block.items():
                require_finite(str(self._path), name, values, start)
            yield block

"""Reads the arrays of an npz file in parallel, block by block."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from lzma import LZMAError
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from qc_core.data.dataset.columns import BAD_HEADER
from qc_core.data.formats.source import require_finite
from qc_core.errors import UsageError
from qc_core.files import require_content

# Shape of one row, by array.
Shapes = Mapping[str, tuple[int, ...]]

# Exceptions that the library raises for damaged or foreign zip files.
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, LZMAError)


class NpzFile(contextlib.AbstractContextManager):
    """Opens arrays of equal length in an npz file for sequential reading.

    Args:
        required, optional: names of the arrays; optional arrays may be missing.

    Raises:
        UsageError: the file is missing, truncated or not an npz, or its arrays are missing, not
            numeric, or of unequal length. The message names the file and the array.
    """

    def __init__(
        self, path: Path, required: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> None:
        self.path = path
        with contextlib.ExitStack() as stack:
            try:
                require_content(path)
                archive = stack.enter_context(zipfile.ZipFile(path))
            except FileNotFoundError as error:
                raise UsageError(f"{path} does not exist") from error
            except zipfile.BadZipFile as error:
                raise UsageError(f"{path} is not an npz file, or it is truncated") from error
            except _DAMAGE as error:
                raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
            names = archive.namelist()
            for name in required:
                if f"{name}.npy" not in names:
                    raise UsageError(
                        f"{path}: array {name!r} is missing; it needs {', '.join(required)}"
                    )
            self._columns = {
                name: stack.enter_context(contextlib.closing(_Column(archive, path, name)))
                for name in (*required, *optional)
                if f"{name}.npy" in names
            }
            rows = {name: c.shape[0] if c.shape else 0 for name, c in self._columns.items()}
            if len(set(rows.values())) > 1:
                lengths = ", ".join(f"{name} {count}" for name, count in rows.items())
                raise UsageError(f"{path}: arrays must have equal lengths, got {lengths}")
            self.rows = next(iter(rows.values()), 0)
            if self.rows == 0:
                raise UsageError(f"{path} holds no rows")
            self._stack = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def shapes(self) -> Shapes:
        return {name: column.shape[1:] for name, column in self._columns.items()}

    def blocks(self, rows: int) -> Iterator[dict[str, np.ndarray]]:
        """Read all arrays in blocks of rows (UsageError: NaN or infinity).

        One thread per array reads the next block while the caller works on the current one.
        Most of the time is spent in decompression, which releases the interpreter lock.
        """
        with ThreadPoolExecutor(len(self._columns), thread_name_prefix="npz") as readers:

            def read(start: int) -> dict[str, Future[np.ndarray]]:
                count = min(rows, self.rows - start)
                return {
                    name: readers.submit(self._read, name, start, count) for name in self._columns
                }

            upcoming = read(0)
            for start in range(0, self.rows, rows):
                block = {name: values.result() for name, values in upcoming.items()}
                if start + rows < self.rows:
                    upcoming = read(start + rows)
                yield block

    def _read(self, name: str, start: int, rows: int) -> np.ndarray:
        values = self._columns[name].read(rows)
        require_finite(str(self.path), name, values, start)
        return values


class _Column:
    """One array of an npz file."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._file = archive.open(f"{name}.npy")
            # In later versions a header may claim up to 4 GiB, which NumPy would read.
            if (version := npy.read_magic(self._file)) != (1, 0):
                raise ValueError(f"npy version 1.0 is needed, got {version[0]}.{version[1]}")
            self.shape, self._fortran, self.dtype = npy.read_array_header_1_0(self._file)
        except (*_DAMAGE, *BAD_HEADER) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{path}: array {name!r} cannot be read: {reason}") from error
        if self.dtype.hasobject or self.dtype.kind not in "fiub":
            raise UsageError(f"{path}: {name!r} must be a plain numeric array, got {self.dtype}")
        if min(self.shape, default=1) < 0 or 0 in self.shape[1:]:
            raise UsageError(f"{path}: array {name!r} has the impossible shape {list(self.shape)}")

        # A complete array in Fortran order, of which `_row` rows have been read.
        self._columns: np.ndarray | None = None
        self._row = 0

    def read(self, rows: int) -> np.ndarray:
        """Read the next rows; an array in Fortran order is read as a whole."""
        if not self._fortran:
            return self._read(rows).reshape(rows, *self.shape[1:])
        if self._columns is None:
            self._columns = self._read(self.shape[0]).reshape(self.shape, order="F")
        self._row += rows
        return np.ascontiguousarray(self._columns[self._row - rows : self._row])

    def _read(self, rows: int) -> np.ndarray:
        count = rows * int(np.prod(self.shape[1:], dtype=np.int64))
        wanted = count * self.dtype.itemsize
        try:
            content = self._file.read(wanted)
        except _DAMAGE as error:
            raise UsageError(f"{self._path}: array {self._name!r} is damaged: {error}") from error
        if len(content) != wanted:
            raise UsageError(
                f"{self._path}: array {self._name!r} ends early: the file is truncated"
            )
        return np.frombuffer(content, self.dtype)

    def close(self) -> None:
        self._file.close()

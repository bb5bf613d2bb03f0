"""The arrays of a dataset folder: .npy files that are written row by row and memory-mapped."""

from __future__ import annotations

import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qc_core.errors import UsageError
from qc_core.files import require_content, unreadable
from qc_core.policy_format.environment_spec import EnvironmentSpec

# NumPy parses a header as Python; a hostile header can make it raise any of these.
BAD_HEADER = (
    *(OSError, ValueError, EOFError, RuntimeError, TypeError, MemoryError, OverflowError),
    *(SyntaxError, tokenize.TokenError),
)
# In the order in which the digest uses them.
DTYPES: Mapping[str, type[np.generic]] = {
    "observations": np.float32,
    "observation_index": np.int32,
    "actions": np.float32,
    "rewards": np.float32,
    "masks": np.float32,
    "terminals": np.float32,
}
ARRAYS = tuple(DTYPES)


class Column:
    """Writes one array of numbers or, with a width, of vectors.

    Args:
        width: numbers per row; None writes a one-dimensional array.
    """

    def __init__(self, folder: Path, name: str, width: int | None) -> None:
        self.dtype = np.dtype(DTYPES[name])
        self.rows = 0
        self._width = width
        self._file: BinaryIO = (folder / f"{name}.npy").open("w+b")
        self._write_header()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows,) if self._width is None else (self.rows, self._width)

    def write(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.rows += len(values)

    def close(self) -> None:
        # NumPy pads the header so that a longer first axis still fits.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": self.shape,
            },
        )


def widths_of(spec: EnvironmentSpec) -> dict[str, int | None]:
    """Return the numbers per row of each array, None for a one-dimensional array."""
    widths: dict[str, int | None] = dict.fromkeys(DTYPES)
    return widths | {"observations": spec.observation_size, "actions": spec.action_size}


def open_columns(
    folder: Path, spec: EnvironmentSpec, *, transitions: int, episodes: int
) -> dict[str, np.ndarray]:
    """Memory-map the arrays and return them by name; only their first and last rows are read.

    Args:
        transitions, episodes: expected counts.

    Raises:
        UsageError: a file is missing, truncated, or has the wrong type or shape, or the arrays do
            not contain complete episodes. The message names the file.
    """
    arrays = {}
    for name, width in widths_of(spec).items():
        path = folder / f"{name}.npy"
        rows = transitions + episodes if name == "observations" else transitions
        wanted = np.dtype(DTYPES[name]), (rows,) if width is None else (rows, width)
        try:
            require_content(path)
            with np.errstate(over="ignore"):
                array: Any = np.lib.format.open_memmap(path, mode="r")
        except PermissionError as error:
            raise unreadable(str(path), error) from error
        except BAD_HEADER as error:
            raise UsageError(f"{path} is missing or truncated: ingest the data again") from error
        if (array.dtype, array.shape) != wanted or not array.flags.c_contiguous:
            order = "" if array.flags.c_contiguous else " in Fortran order"
            raise UsageError(
                f"{path} must contain {_shown(*wanted)}, "
                f"got {_shown(array.dtype, array.shape)}{order}"
            )
        arrays[name] = array
    if not transitions or arrays["terminals"][-1] != 1:
        raise UsageError(f"{folder / 'terminals.npy'} must end with the end of an episode (1)")
    index = arrays["observation_index"]
    if (index[0], index[-1]) != (0, transitions + episodes - 2):
        raise UsageError(
            f"{folder / 'observation_index.npy'} must run from 0 to "
            f"{transitions + episodes - 2}, got {index[0]} to {index[-1]}"
        )
    return arrays


def _shown(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"

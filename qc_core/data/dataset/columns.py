"""The arrays of a data set folder, each a .npy file that grows and is then memory-mapped."""

from __future__ import annotations

import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qc_core.errors import UsageError
from qc_core.files import require_file, unreadable
from qc_core.policy_format.environment_spec import EnvironmentSpec

# A header is Python that NumPy parses, by whatever a hostile one may make Python raise.
BAD_HEADER = (
    *(OSError, ValueError, EOFError, RuntimeError, TypeError, MemoryError, OverflowError),
    *(SyntaxError, tokenize.TokenError),
)
# In the order in which they enter the digest.
DTYPES: Mapping[str, type[np.generic]] = {
    "observations": np.float32,
    "observation_index": np.int32,
    "actions": np.float32,
    "rewards": np.float32,
    "masks": np.float32,
    "terminals": np.float32,
}


class Column:
    """One growing array of numbers or, with a width, of vectors."""

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
        # NumPy pads the header for a growing first axis, so the final one fits.
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
    """Numbers per row of each array, None where a row is a number."""
    widths: dict[str, int | None] = dict.fromkeys(DTYPES)
    return widths | {"observations": spec.observation_size, "actions": spec.action_size}


def open_columns(
    folder: Path, spec: EnvironmentSpec, *, transitions: int, episodes: int
) -> dict[str, np.ndarray]:
    """The arrays by name, memory-mapped; of their content only the ends are looked at.

    Args:
        transitions, episodes: how many there must be.

    Raises:
        UsageError: a file that is missing, truncated, or of another type or shape; arrays that do
            not hold whole episodes. The message names the file.
    """
    arrays = {}
    for name, width in widths_of(spec).items():
        path = folder / f"{name}.npy"
        rows = transitions + episodes if name == "observations" else transitions
        wanted = np.dtype(DTYPES[name]), (rows,) if width is None else (rows, width)
        try:
            require_file(path)
            with np.errstate(over="ignore"):
                array: Any = np.lib.format.open_memmap(path, mode="r")
        except PermissionError as error:
            raise unreadable(str(path), error) from error
        except BAD_HEADER as error:
            raise UsageError(f"{path} is missing or truncated: ingest the data anew") from error
        if (array.dtype, array.shape) != wanted or not array.flags.c_contiguous:
            order = "" if array.flags.c_contiguous else " in Fortran's order"
            raise UsageError(
                f"{path} must hold {_told(*wanted)}, got {_told(array.dtype, array.shape)}{order}"
            )
        arrays[name] = array
    if not transitions or arrays["terminals"][-1] != 1:
        raise UsageError(f"{folder / 'terminals.npy'} must end with the end of an episode (1)")
    index = arrays["observation_index"]
    if (index[0], index[-1]) != (0, transitions + episodes - 2):
        raise UsageError(
            f"{folder / 'observation_index.npy'} must lead from 0 to the last observation but one, "
            f"{transitions + episodes - 2}, got {index[0]} to {index[-1]}"
        )
    return arrays


def _told(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"

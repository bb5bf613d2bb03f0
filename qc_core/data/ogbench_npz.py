"""OGBench's npz files as data sets.

The file is read array by array and block by block; its rewards come from OGBench's own
relabelling for the environment's task.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from qc_core.data.dataset import DatasetWriter, Episodes
from qc_core.data.relabelling import Relabelling
from qc_core.envs.spec import EnvironmentSpec
from qc_core.errors import WrongUse
from qc_core.progress import Progress

_REQUIRED = ("observations", "actions", "terminals")
_STATE = ("qpos", "button_states")
_BLOCK_ROWS = 100_000
# Whatever a damaged or foreign zip file makes the library raise.
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def convert(path: Path, spec: EnvironmentSpec, writer: DatasetWriter) -> None:
    """Append every episode of an npz file.

    Raises:
        WrongUse: missing, truncated or not an npz; arrays that are missing, of unequal
            length, of the wrong size for the environment, or hold NaN or infinity. The
            message names the file, the array and the row.
    """
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except FileNotFoundError as error:
            raise WrongUse(f"{path} does not exist") from error
        except IsADirectoryError as error:
            raise WrongUse(f"{path} is a folder without a dataset.json, not an npz file") from error
        except zipfile.BadZipFile as error:
            raise WrongUse(f"{path} is not an npz file, or it is truncated") from error
        except (OSError, ValueError) as error:
            raise WrongUse(f"{str(path)!r} cannot be read: {error}") from error
        columns = {
            name: stack.enter_context(contextlib.closing(_Member(archive, path, name)))
            for name in (*_REQUIRED, *_STATE)
            if f"{name}.npy" in archive.namelist()
        }
        _require_arrays(path, columns, spec)
        relabel = stack.enter_context(contextlib.closing(Relabelling(spec.id)))
        _require_state(path, columns, spec, relabel)
        rows = columns["terminals"].shape[0]
        with Progress(rows, f"reading {path.name}", "row") as progress:
            pending: dict[str, np.ndarray] | None = None
            for start in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - start)
                block = {name: column.read(count) for name, column in columns.items()}
                for name, values in block.items():
                    _require_finite(path, name, values, start)
                block["terminals"] = block["terminals"].astype(bool)
                if start + count == rows:
                    # The file's end is the last episode's end, said or not.
                    block["terminals"][-1] = True
                if pending is not None:
                    block = {k: np.concatenate([pending[k], v]) for k, v in block.items()}
                ends = np.flatnonzero(block["terminals"])
                whole = int(ends[-1]) + 1 if len(ends) else 0
                pending = {name: values[whole:] for name, values in block.items()}
                if whole:
                    _append(writer, {k: v[:whole] for k, v in block.items()}, relabel, path)
                progress.update(count)


def validation_file(path: Path) -> Path | None:
    """The `-val.npz` beside an npz file, if it is there."""
    beside = path.with_name(f"{path.stem}-val.npz")
    return beside if beside.is_file() else None


class _Member:
    """One array of an npz file, read from the front in blocks."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._file = archive.open(f"{name}.npy")
            version = npy.read_magic(self._file)
            read_header = (
                npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            )
            self.shape, fortran, self.dtype = read_header(self._file)
        except _DAMAGE as error:
            raise WrongUse(f"{path}: array {name!r} cannot be read: {error}") from error
        if self.dtype.hasobject or self.dtype.kind not in "fiub" or fortran:
            raise WrongUse(f"{path}: {name!r} must be a plain numeric array, got {self.dtype}")

    def read(self, rows: int) -> np.ndarray:
        count = rows * int(np.prod(self.shape[1:], dtype=np.int64))
        wanted = count * self.dtype.itemsize
        try:
            content = self._file.read(wanted)
        except _DAMAGE as error:
            raise WrongUse(f"{self._path}: array {self._name!r} is damaged: {error}") from error
        if len(content) != wanted:
            raise WrongUse(f"{self._path}: array {self._name!r} ends early: the file is truncated")
        return np.frombuffer(content, self.dtype).reshape(rows, *self.shape[1:])

    def close(self) -> None:
        self._file.close()


def _append(
    writer: DatasetWriter, block: dict[str, np.ndarray], relabel: Relabelling, path: Path
) -> None:
    """Append the whole episodes of a block; each one's last row is only a next observation."""
    last_rows = block["terminals"]
    lengths = np.diff(np.flatnonzero(last_rows), prepend=-1)
    if lengths.min() < 2:
        raise WrongUse(f"{path}: an episode needs at least two rows, one has {lengths.min()}")
    rewards, masks = relabel(block)
    transitions = ~last_rows
    terminals = np.roll(last_rows, -1)[transitions]
    writer.append(
        Episodes(
            observations=block["observations"],
            actions=block["actions"][transitions].clip(-1, 1),
            rewards=rewards[transitions],
            masks=masks[transitions],
            terminals=terminals.astype(np.float32),
        )
    )


def _require_arrays(path: Path, columns: dict[str, _Member], spec: EnvironmentSpec) -> None:
    for name in _REQUIRED:
        if name not in columns:
            raise WrongUse(f"{path}: array {name!r} is missing; OGBench files have {_REQUIRED}")
    rows = {name: column.shape[0] if column.shape else 0 for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        lengths = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise WrongUse(f"{path}: arrays must have equal lengths, got {lengths}")
    if columns["terminals"].shape != (rows["terminals"],):
        shape = list(columns["terminals"].shape)
        raise WrongUse(f"{path}: 'terminals' must have one number per row, got shape {shape}")
    if rows["terminals"] == 0:
        raise WrongUse(f"{path} holds no rows")
    for name, size in (("observations", spec.observation_size), ("actions", spec.action_size)):
        if columns[name].shape[1:] != (size,):
            raise WrongUse(
                f"{path}: {spec.id} has {name} of {size} numbers, "
                f"the file {list(columns[name].shape[1:])}"
            )


def _require_state(
    path: Path, columns: dict[str, _Member], spec: EnvironmentSpec, relabel: Relabelling
) -> None:
    for name, width in relabel.widths.items():
        if name not in columns:
            raise WrongUse(f"{path}: array {name!r} is missing, the rewards depend on it")
        if columns[name].shape[1:] != (width,):
            raise WrongUse(
                f"{path}: {spec.id} has {name} of {width} numbers, "
                f"the file {list(columns[name].shape[1:])}"
            )


def _require_finite(path: Path, name: str, values: np.ndarray, first_row: int) -> None:
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        row = first_row + int(np.argmin(finite))
        raise WrongUse(f"{path}: {name} holds NaN or infinity in row {row}")

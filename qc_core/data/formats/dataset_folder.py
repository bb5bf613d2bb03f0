"""Checks the rows of a dataset folder before it is copied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qc_core.data.dataset.dataset import Dataset
from qc_core.data.formats.source import require_finite
from qc_core.errors import UsageError

_BLOCK_ROWS = 1 << 18


def require_complete_episodes(dataset: Dataset) -> None:
    """Read a complete dataset block by block, and refuse rows that are not episodes.

    Raises:
        UsageError: numbers are not finite, flags are neither 0 nor 1, or the observation index
            does not follow the ends of the episodes. The message names the file.
    """
    for name in ("observations", "actions", "rewards"):
        for start, values in _blocks(getattr(dataset, name)):
            require_finite(str(dataset.folder / f"{name}.npy"), name, values, start)
    for name in ("masks", "terminals"):
        for _, values in _blocks(getattr(dataset, name)):
            if not ((values == 0) | (values == 1)).all():
                raise UsageError(f"{dataset.folder / f'{name}.npy'} must be 0 or 1 in every row")
    ended = 0
    for start, terminals in _blocks(dataset.terminals):
        ends = np.cumsum(terminals, dtype=np.int64)
        index = dataset.observation_index[start : start + len(terminals)]
        # Each finished episode has one more observation than transitions.
        follows = index == start + np.arange(len(terminals)) + ended + ends - (terminals > 0)
        if not follows.all():
            raise UsageError(
                f"{dataset.folder / 'observation_index.npy'} does not follow the ends of episodes "
                f"in row {start + int(np.argmin(follows))}: ingest the data again"
            )
        ended += int(ends[-1])


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of rows, each with the number of its first row."""
    for start in range(0, len(array), _BLOCK_ROWS):
        yield start, array[start : start + _BLOCK_ROWS]

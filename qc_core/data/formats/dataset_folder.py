"""What the rows of somebody's data set folder must be before it is taken over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qc_core.data.dataset.dataset import Dataset
from qc_core.data.formats.source import require_finite
from qc_core.errors import UsageError

_BLOCK_ROWS = 1 << 18


def require_episodes(dataset: Dataset) -> None:
    """Read a data set to its end; memory is that of a block.

    Raises:
        UsageError: numbers that are not finite, marks that are neither 0 nor 1, or observations that
            do not lie episode behind episode. The message names the file.
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
        # Behind each end lies one observation that starts no transition.
        follows = index == start + np.arange(len(terminals)) + ended + ends - (terminals > 0)
        if not follows.all():
            raise UsageError(
                f"{dataset.folder / 'observation_index.npy'} does not follow the ends of episodes "
                f"in row {start + int(np.argmin(follows))}: ingest the data anew"
            )
        ended += int(ends[-1])


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Its rows, some at a time, with the number of the first."""
    for start in range(0, len(array), _BLOCK_ROWS):
        yield start, array[start : start + _BLOCK_ROWS]

"""Data larger than memory: parts of a data set that take turns in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset
from qc_core.errors import UsageError

_BLOCK_ROWS = 1 << 20
_CONSTANT = 1e-6

Loaded = TypeVar("Loaded")


class Shards(contextlib.AbstractContextManager, Generic[Loaded]):
    """What offline training draws from at each update.

    With `--data.shard-size R` that is a part of the data set of about R transitions,
    in memory, and after `--data.shard-updates` updates the next part, in turn. The next one is
    read meanwhile, so that two are in memory, and a third where `ShardBuffer` copies the part into
    its place. Parts are of nearly equal length and cut between episodes: at most one episode
    longer than R. Without R, or where R holds everything, it is the data set as it is,
    memory-mapped.

    Args:
        load: makes of a part what training draws from; it runs in a thread of its own.

    Raises:
        UsageError: a part would be shorter than one backup.
    """

    def __init__(self, dataset: Dataset, config: Config, load: Callable[[Dataset], Loaded]) -> None:
        self._dataset, self._load = dataset, load
        self._updates = config.data.shard_updates
        self._bounds = _bounds(dataset, config.data.shard_size)
        shortest = int(np.diff(self._bounds).min())
        if shortest < config.train.backup_steps:
            raise UsageError(
                f"--data.shard-size {config.data.shard_size} leaves a part of "
                f"{shortest} transitions, a backup needs {config.train.backup_steps}: raise it"
            )
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="slices")
        self._part = 0
        self._current = self._read(0)
        self._upcoming: Future[Loaded] | None = None

    def __len__(self) -> int:
        """Parts."""
        return len(self._bounds) - 1

    def at(self, update: int) -> Loaded:
        """What an update draws from, the first being update 1; the same for the same update."""
        part = (update - 1) // self._updates % len(self)
        following = (self._part + 1) % len(self)
        if part != self._part:
            upcoming, self._upcoming = self._upcoming, None
            if upcoming is not None and part == following:
                self._current = upcoming.result()
            else:
                self._current = self._read(part)
            self._part = part
        elif self._upcoming is None and len(self) > 1:
            # Only now has the caller let go of the part before this one.
            self._upcoming = self._reader.submit(self._read, following)
        return self._current

    def last(self, update: int) -> int:
        """The last update in a row that draws from the same part as this one."""
        if len(self) == 1:
            return sys.maxsize
        return -(-update // self._updates) * self._updates

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _read(self, part: int) -> Loaded:
        if len(self) == 1:
            return self._load(self._dataset)
        return self._load(part_of(self._dataset, self._bounds[part], self._bounds[part + 1]))


def part_of(dataset: Dataset, start: int, stop: int) -> Dataset:
    """The transitions from `start` up to `stop`, whole episodes, copied into memory."""
    index = _rows(dataset.observation_index, start, stop)
    first, last = int(index[0]), int(index[-1]) + 1
    return replace(
        dataset,
        observations=_rows(dataset.observations, first, last + 1),
        observation_index=index - first,
        actions=_rows(dataset.actions, start, stop),
        rewards=_rows(dataset.rewards, start, stop),
        masks=_rows(dataset.masks, start, stop),
        terminals=_rows(dataset.terminals, start, stop),
    )


def parts_of(dataset: Dataset, size: int) -> Iterator[Dataset]:
    """The data set in parts of about `size` transitions, whole episodes, in memory one by one."""
    bounds = _bounds(dataset, size)
    for start, stop in pairwise(bounds):
        yield part_of(dataset, start, stop)


def observation_statistics(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [O] per coordinate, float64, in the memory of a block.

    A coordinate that never varies keeps its scale: its deviation counts 1.
    """
    rows = len(dataset.observations)
    # Deviations from any observation are small enough for their squares to be summed.
    origin_O = _rows(dataset.observations, 0, 1)[0].astype(np.float64)
    sum_O, squares_O = np.zeros_like(origin_O), np.zeros_like(origin_O)
    for block in _blocks(dataset.observations):
        deviation = block - origin_O
        sum_O += deviation.sum(axis=0)
        squares_O += np.square(deviation, out=deviation).sum(axis=0)
    mean_O = sum_O / rows
    std_O = np.sqrt(np.maximum(squares_O / rows - mean_O**2, 0))
    return origin_O + mean_O, np.where(std_O < _CONSTANT, 1.0, std_O)


def _bounds(dataset: Dataset, resident: int) -> list[int]:
    """Where the parts begin, and where the last one ends: behind ends of episodes."""
    size = dataset.transitions
    if not 0 < resident < size:
        return [0, size]
    start, ends = 0, []
    for block in _blocks(dataset.terminals):
        ends.append(np.flatnonzero(block) + start + 1)
        start += len(block)
    ends_E = np.concatenate(ends)
    wanted = np.linspace(0, size, -(-size // resident) + 1)
    inner = ends_E[np.searchsorted(ends_E, wanted[1:-1])]
    return np.unique([0, *inner, size]).tolist()


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), _BLOCK_ROWS):
        yield _rows(array, start, min(start + _BLOCK_ROWS, len(array)))


def _rows(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Rows of a memory-mapped array, read past the map: what it has touched stays with it."""
    assert isinstance(array, np.memmap) and array.filename is not None
    width = int(np.prod(array.shape[1:], dtype=np.int64))
    values = np.fromfile(
        array.filename,
        array.dtype,
        count=(stop - start) * width,
        offset=array.offset + start * width * array.itemsize,
    )
    return values.reshape(stop - start, *array.shape[1:])

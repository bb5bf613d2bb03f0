"""Splits a dataset that is larger than memory into shards that are loaded in turn."""

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
    """The shards that offline training samples from, one after the other.

    With `--data.shard-size R`, a shard of about R transitions is in memory, and the next shard
    replaces it after `--data.shard-updates` updates. The next shard is loaded in the background, so
    two are in memory, or three if `ShardBuffer` copies in place. Shards have nearly equal lengths
    and end with an episode; they exceed R by at most one episode. Without R, or if the dataset is
    not larger than R, the only shard is the memory-mapped dataset.

    Args:
        load: converts a shard to the object that training samples from; runs in its own thread.

    Raises:
        UsageError: a shard would be shorter than one backup.
    """

    def __init__(self, dataset: Dataset, config: Config, load: Callable[[Dataset], Loaded]) -> None:
        self._dataset, self._load = dataset, load
        self._updates = config.data.shard_updates
        self._bounds = _bounds(dataset, config.data.shard_size)
        shortest = int(np.diff(self._bounds).min())
        if shortest < config.train.backup_steps:
            raise UsageError(
                f"--data.shard-size {config.data.shard_size} gives a shard of {shortest} "
                f"transitions (a backup needs {config.train.backup_steps}); raise it"
            )
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._index = 0
        self._current = self._read(0)
        self._upcoming: Future[Loaded] | None = None

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self._bounds) - 1

    def shard_at(self, update: int) -> Loaded:
        """Return the shard of an update; the first update is 1."""
        index = (update - 1) // self._updates % len(self)
        following = (self._index + 1) % len(self)
        if index != self._index:
            upcoming, self._upcoming = self._upcoming, None
            if upcoming is not None and index == following:
                self._current = upcoming.result()
            else:
                self._current = self._read(index)
            self._index = index
        elif self._upcoming is None and len(self) > 1:
            # By this second call, the caller has released the previous shard.
            self._upcoming = self._reader.submit(self._read, following)
        return self._current

    def last_update(self, update: int) -> int:
        """Return the last update before the shard of `update` is replaced."""
        if len(self) == 1:
            return sys.maxsize
        return -(-update // self._updates) * self._updates

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _read(self, index: int) -> Loaded:
        if len(self) == 1:
            return self._load(self._dataset)
        return self._load(shard_of(self._dataset, self._bounds[index], self._bounds[index + 1]))


def shard_of(dataset: Dataset, start: int, stop: int) -> Dataset:
    """Copy the transitions from `start` to before `stop`, complete episodes, into memory."""
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


def iter_shards(dataset: Dataset, size: int) -> Iterator[Dataset]:
    """Yield shards of about `size` transitions, complete episodes, each copied into memory."""
    bounds = _bounds(dataset, size)
    for start, stop in pairwise(bounds):
        yield shard_of(dataset, start, stop)


def observation_statistics(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation [O] of each coordinate, float64, block by block.

    The standard deviation of a constant coordinate is 1, so that normalisation keeps its scale.
    """
    rows = len(dataset.observations)
    # Sums of squares are accurate if they are of deviations from some observation.
    origin_O = _rows(dataset.observations, 0, 1)[0].astype(np.float64)
    sum_O, squares_O = np.zeros_like(origin_O), np.zeros_like(origin_O)
    for block in _blocks(dataset.observations):
        deviation = block - origin_O
        sum_O += deviation.sum(axis=0)
        squares_O += np.square(deviation, out=deviation).sum(axis=0)
    mean_O = sum_O / rows
    std_O = np.sqrt(np.maximum(squares_O / rows - mean_O**2, 0))
    return origin_O + mean_O, np.where(std_O < _CONSTANT, 1.0, std_O)


def _bounds(dataset: Dataset, shard_size: int) -> list[int]:
    """Return the first transition of each shard, and the number of transitions."""
    size = dataset.transitions
    if not 0 < shard_size < size:
        return [0, size]
    start, ends = 0, []
    for block in _blocks(dataset.terminals):
        ends.append(np.flatnonzero(block) + start + 1)
        start += len(block)
    ends_E = np.concatenate(ends)
    wanted = np.linspace(0, size, -(-size // shard_size) + 1)
    inner = ends_E[np.searchsorted(ends_E, wanted[1:-1])]
    return np.unique([0, *inner, size]).tolist()


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), _BLOCK_ROWS):
        yield _rows(array, start, min(start + _BLOCK_ROWS, len(array)))


def _rows(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Read rows from the file of a memory-mapped array; pages read through the map would stay."""
    assert isinstance(array, np.memmap) and array.filename is not None
    width = int(np.prod(array.shape[1:], dtype=np.int64))
    values = np.fromfile(
        array.filename,
        array.dtype,
        count=(stop - start) * width,
        offset=array.offset + start * width * array.itemsize,
    )
    return values.reshape(stop - start, *array.shape[1:])

"""Collects episodes in any number of processes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from qc_core.config.settings import Collection
from qc_core.data.collection.collector import PLAY_LENGTH, OracleCollector, make_collector
from qc_core.data.collection.families import require_collectable
from qc_core.data.collection.user_demonstrator import (
    Demonstration,
    UserDemonstrations,
    load_demonstrator,
)
from qc_core.data.dataset.dataset import Episodes
from qc_core.envs.registry import find_environment
from qc_core.processes import map_in_order, one_thread_each, worker_pool

# Submitted episodes per worker: enough that no worker idles while a slow episode blocks the order,
# few enough that memory does not grow with the collection.
_AHEAD = 4

Episode = TypeVar("Episode", covariant=True)


class Collector(Protocol[Episode]):
    """Collects episodes in its own environment."""

    def collect(self, seed: int) -> Episode:
        """Return the episode of a seed; it does not depend on earlier episodes."""
        ...

    def close(self) -> None: ...


def collect_episodes(
    environment: str,
    seeds: Sequence[int],
    *,
    collection: Collection = "mixed",
    play_length: int = PLAY_LENGTH,
    workers: int = 1,
) -> Iterator[Episodes]:
    """Collect one episode of a scripted oracle per seed, in the order of the seeds.

    Args:
        play_length: transitions of a `play` or `noisy` episode.
        workers: number of processes; 1 collects in this process. The episodes are the same.

    Raises:
        UsageError: there is no oracle for the environment.
    """
    require_collectable(environment)
    yield from _collect(_Oracles(environment, collection, play_length), seeds, workers)


def collect_demonstrations(
    environment: str, demonstrator: str, seeds: Sequence[int], *, workers: int = 1
) -> Iterator[Demonstration]:
    """Collect one episode of a user's demonstrator per seed, in the order of the seeds.

    Args:
        demonstrator: `module:function`.
        workers: number of processes; 1 collects in this process. The episodes are the same.

    Raises:
        UsageError: the function cannot be imported, or fails.
    """
    load_demonstrator(demonstrator)
    yield from _collect(UserDemonstrations(environment, demonstrator), seeds, workers)


def require_demonstrator(environment: str, demonstrator: str) -> None:
    """Refuse a collection without a user's demonstrator or an oracle that could collect.

    Args:
        demonstrator: `module:function`; empty for OGBench's oracles.

    Raises:
        UsageError: the function cannot be imported, or the environment has no oracle.
    """
    if demonstrator:
        load_demonstrator(demonstrator)
    else:
        find_environment(environment)
        require_collectable(environment)


@dataclass(frozen=True)
class _Oracles:
    environment: str
    collection: Collection
    play_length: int

    def __call__(self) -> OracleCollector:
        return make_collector(self.environment, self.collection, self.play_length)


def _collect(
    make: Callable[[], Collector[Episode]], seeds: Sequence[int], workers: int
) -> Iterator[Episode]:
    """Collect with one collector per process; equal functions `make` share one."""
    if workers == 1:
        with contextlib.closing(make()) as collector:
            yield from map(collector.collect, seeds)
        return
    collect = functools.partial(_collect_in_worker, make)
    with one_thread_each(), worker_pool(workers) as pool:
        yield from map_in_order(pool, collect, seeds, ahead=_AHEAD * workers)


def _collect_in_worker(make: Callable[[], Collector[Any]], seed: int) -> Any:
    return _worker_collector(make).collect(seed)


@functools.cache
def _worker_collector(make: Callable[[], Collector[Any]]) -> Collector[Any]:
    """Return the collector of this worker process, which lives as long as the process."""
    return make()

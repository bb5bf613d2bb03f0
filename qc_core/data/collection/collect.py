"""Collects episodes in any number of processes."""

from __future__ import annotations

import contextlib
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
from qc_core.envs.failures import EnvironmentFailed, EpisodeFailures
from qc_core.envs.registry import find_environment
from qc_core.envs.time_limit import end_if_it_hangs
from qc_core.worker_pool import futures_in_order, worker_pool

# Submitted episodes per worker: enough that no worker idles while a slow episode blocks the order,
# few enough that memory does not grow with the collection.
_AHEAD = 4

Episode = TypeVar("Episode", covariant=True)


class Collector(Protocol[Episode]):
    """Collects episodes in its own environment, in a worker process."""

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
        workers: number of processes; the episodes are the same for any number.

    Yields:
        The episodes, without those whose environment failed.

    Raises:
        UsageError: there is no oracle for the environment.
        EnvironmentFailed: the environment failed in too many episodes in a row.
    """
    require_collectable(environment)
    yield from _collect(environment, _Oracles(environment, collection, play_length), seeds, workers)


def collect_demonstrations(
    environment: str, demonstrator: str, seeds: Sequence[int], *, workers: int = 1
) -> Iterator[Demonstration]:
    """Collect one episode of a user's demonstrator per seed, in the order of the seeds.

    Args:
        demonstrator: `module:function`.
        workers: number of processes; the episodes are the same for any number.

    Yields:
        The episodes, without those whose environment failed.

    Raises:
        UsageError: the function cannot be imported, or fails.
        EnvironmentFailed: the environment failed in too many episodes in a row.
    """
    load_demonstrator(demonstrator)
    make = UserDemonstrations(environment, demonstrator)
    yield from _collect(environment, make, seeds, workers)


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
    environment: str, make: Callable[[], Collector[Episode]], seeds: Sequence[int], workers: int
) -> Iterator[Episode]:
    """Collect with one collector per process."""
    failures = EpisodeFailures(environment, "--data.workers")
    with worker_pool(workers, _start_worker, make, replace_killed=True, forked=True) as pool:
        for future in futures_in_order(pool, _collect_in_worker, seeds, ahead=_AHEAD * workers):
            if (episode := failures.result_of(future)) is not None:
                yield episode
    if failures.count == len(seeds):
        failures.give_up("every episode")


_make: Callable[[], Collector[Any]] | None = None
_collector: Collector[Any] | None = None


def _start_worker(make: Callable[[], Collector[Any]]) -> None:
    global _make
    end_if_it_hangs()
    _make = make


def _collect_in_worker(seed: int) -> Any:
    global _collector
    assert _make is not None
    if _collector is None:
        _collector = _make()
    try:
        return _collector.collect(seed)
    except EnvironmentFailed:
        # The next episode gets a new environment.
        failed, _collector = _collector, None
        with contextlib.suppress(Exception, SystemExit):
            failed.close()
        raise

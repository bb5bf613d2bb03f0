"""Collects episodes in any number of processes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

from qc_core.config.settings import Collection
from qc_core.data.collection.collector import PLAY_LENGTH, Collector, make_collector
from qc_core.data.collection.families import require_collectable
from qc_core.data.dataset.dataset import Episodes
from qc_core.processes import map_in_order, one_thread_each, worker_pool

# Submitted episodes per worker: enough that no worker idles while a slow episode blocks the order,
# few enough that memory does not grow with the collection.
_AHEAD = 4


def collect_episodes(
    environment: str,
    seeds: Sequence[int],
    *,
    collection: Collection = "mixed",
    play_length: int = PLAY_LENGTH,
    workers: int = 1,
) -> Iterator[Episodes]:
    """Collect one episode per seed, in the order of the seeds for any number of workers.

    Args:
        play_length: transitions of a `play` or `noisy` episode.
        workers: number of processes; 1 collects in this process.

    Raises:
        UsageError: there is no oracle for the environment.
    """
    require_collectable(environment)
    if workers == 1:
        made = make_collector(environment, collection, play_length)
        with contextlib.closing(made) as collector:
            yield from map(collector.collect, seeds)
        return
    collect = functools.partial(_collect_in_worker, environment, collection, play_length)
    with one_thread_each(), worker_pool(workers) as pool:
        yield from map_in_order(pool, collect, seeds, ahead=_AHEAD * workers)


def _collect_in_worker(
    environment: str, collection: Collection, play_length: int, seed: int
) -> Episodes:
    return _worker_collector(environment, collection, play_length).collect(seed)


@functools.cache
def _worker_collector(environment: str, collection: Collection, play_length: int) -> Collector:
    """Return the collector of this worker process, which lives as long as the process."""
    return make_collector(environment, collection, play_length)

"""Worker processes that neither outlive their caller nor spoil its last line."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes; when its block fails, work not yet begun is dropped.

    Args:
        initializer: called with `arguments` in each process. It should only take note of them:
            what fails here cannot be reported.
    """
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(initializer, arguments)
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole group; the caller alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initializer is not None:
        initializer(*arguments)

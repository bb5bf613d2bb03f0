"""Worker processes that neither outlive their caller nor spoil its last line."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from qc_core.errors import WorkFailed

# What the numeric libraries look at, once, when a process loads them.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# For cleaning up behind work that is broken off.
_GRACE_SECONDS = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes; when its block fails, their work is broken off.

    Args:
        initializer: called with `arguments` in each process. It should only take note of them:
            what fails here cannot be reported.

    Raises:
        WorkFailed: a process was killed.
    """
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(initializer, arguments)
    )
    try:
        yield pool
    except BaseException as error:
        processes = list(pool._processes.values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            # A call that stood next in line is begun once more, and broken off likewise.
            while process.is_alive():
                process.join(_GRACE_SECONDS)
                process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise WorkFailed(
                "a worker process was killed, perhaps for want of memory: use fewer of them"
            ) from None
        raise
    pool.shutdown()


def serve_caller() -> None:
    """Make this process one that its caller alone ends, and that ends with its caller."""
    # Ctrl-C reaches the whole group; the caller alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Broken off, the work still cleans up behind itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    caller = parent_process()
    assert caller is not None
    caller.join()
    # A pool's process takes the first for the end of one call, and waits for another.
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    serve_caller()
    if initializer is not None:
        initializer(*arguments)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every process that is started within this block compute in one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def map_in_order(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
) -> Iterator[Result]:
    """Like `pool.map`, but at most `ahead` results are under way or wait to be taken."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        if len(pending) == ahead:
            yield pending.popleft().result()
        pending.append(pool.submit(function, item))
    while pending:
        yield pending.popleft().result()

"""Worker processes that neither outlive their caller nor spoil its last line."""

from __future__ import annotations

import math
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
from multiprocessing.util import _run_finalizers  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any, ParamSpec, TypeVar

from qc_core.errors import TransientError
from qc_core.log import configure_logging

# What the numeric libraries look at, once, when a process loads them.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# For cleaning up behind work that is broken off.
_GRACE_SECONDS = 3

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = ParamSpec("Given")

_is_at_work = False
_broken_off_at = -math.inf


class _Pool(ProcessPoolExecutor):
    """Its processes tell a call that they are at from waiting for one."""

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        return super().submit(_call, fn, *args, **kwargs)


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes; when its block fails, their work is broken off.

    Args:
        initializer: called with `arguments` in each process. It should only take note of them:
            what fails here cannot be reported.

    Raises:
        TransientError: a process was killed.
    """
    pool = _Pool(
        workers, get_context("spawn"), initializer=_start, initargs=(initializer, arguments)
    )
    try:
        yield pool
    except BaseException as error:
        processes, results = list(pool._processes.values()), pool._result_queue
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            # A signal that reaches it in a finalizer is lost.
            while process.is_alive():
                process.join(_GRACE_SECONDS)
                process.terminate()
        # Else this one waits for the rest of a result that was being sent.
        results._writer.close()  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(error, BrokenProcessPool):
            raise TransientError(
                "a worker process was killed, perhaps for want of memory: use fewer of them"
            ) from None
        raise
    pool.shutdown()


def serve_caller() -> None:
    """Make this process one that its caller alone ends, and that ends with its caller.

    What it is at in `at_work` is broken off, and cleans up behind itself.
    """
    # Ctrl-C reaches the whole group; the caller alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _break_off)
    sys.unraisablehook = _complain
    threading.Thread(target=_end_with_caller, daemon=True).start()


@contextmanager
def at_work() -> Iterator[None]:
    """Work that is broken off by an exception; once it is, this process goes no further."""
    global _is_at_work
    try:
        _is_at_work = True
        yield
    finally:
        _is_at_work = False
        if _broken_off_at > -math.inf:
            # Pools that the work had leave semaphores, which somebody else would complain about.
            _run_finalizers(0)
            os._exit(1)


def _call(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    with at_work():
        return function(*args, **kwargs)


def _break_off(*_: object) -> None:
    """End work by SystemExit, and a process that is not at work at once."""
    global _broken_off_at
    now = time.monotonic()
    # Once one process has left, its pool tells the others again: they are cleaning up by then.
    if now - _broken_off_at < _GRACE_SECONDS / 2:
        return
    if not _is_at_work:
        os._exit(1)
    _broken_off_at = now
    sys.exit(1)


def _complain(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_type is not SystemExit:
        sys.__unraisablehook__(unraisable)


def _end_with_caller() -> None:
    caller = parent_process()
    assert caller is not None
    caller.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    serve_caller()
    configure_logging()
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

"""Pools of worker processes whose running calls can be interrupted.

`concurrent.futures.ProcessPoolExecutor` cannot interrupt a running call through its public
interface, so the pool here manages its own processes: one pipe and one thread for each.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from qc_core import interruption
from qc_core.errors import QCError, RunError, TransientError
from qc_core.log import configure_logging
from qc_core.processes import (
    GRACE_SECONDS,
    exit_with_parent,
    how_ended,
    main_guard_error,
    memory_remedy,
    ran_out_of_memory,
    running,
    start_forked,
    start_fresh,
)

# Time after which a process that ignores its signals is killed.
_KILL_SECONDS = 60

Item = TypeVar("Item")
Result = TypeVar("Result")
Params = ParamSpec("Params")
_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_Task = tuple[Future[Any], _Call]


class WorkerKilled(TransientError):
    """A worker process of this process's pool ended before it returned a result.

    The message says how it ended, and what helps if memory ran out.

    Attributes:
        exit_code: of the process, negative for a signal; None if it does not end.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def worker_pool(
    workers: int,
    initializer: Callable[..., None] | None = None,
    *arguments: Any,
    replace_killed: bool = False,
    forked: bool = False,
    fewer: str = "",
) -> Iterator[Executor]:
    """A pool of processes; an exception in the block interrupts their calls.

    An interrupted call sees `Interrupted`, cleans up, and its process exits.

    Args:
        workers: maximum number of processes; each starts when a call needs it.
        initializer: called with `arguments` in each process. It should only store them: its
            errors cannot be reported.
        replace_killed: if a process is killed, only its own call fails, and a new process takes
            its place.
        forked: start the processes as `start_forked` does.
        fewer: the option that sets `workers`, for the message if memory runs out.

    Raises:
        WorkerKilled: a process was killed; every call of the pool fails.
        UsageError: the script that uses the pool has no main guard; every call fails.
    """
    pool = _Pool(workers, initializer, arguments, replace_killed, forked, fewer)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.stop()
        raise


class _Pool(Executor):
    """Runs each call in the first process that is free."""

    def __init__(
        self,
        workers: int,
        initializer: Callable[..., None] | None,
        arguments: tuple[Any, ...],
        replace_killed: bool,
        forked: bool,
        fewer: str,
    ) -> None:
        self._workers, self._initializer, self._arguments = workers, initializer, arguments
        self._replace_killed, self._fewer = replace_killed, fewer
        self._start = start_forked if forked else start_fresh
        # A task, or None for each thread that should end.
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._processes: list[BaseProcess] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closed = False
        # Why calls cannot run any more: how a process ended.
        self._broken_by: QCError | None = None

    def submit(
        self, fn: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Future[Result]:
        future: Future[Result] = Future()
        with self._lock:
            if self._broken_by:
                raise self._broken_by
            if self._is_closed:
                raise RuntimeError("cannot submit a call to a pool that is shut down")
            self._tasks.put((future, (fn, args, kwargs)))
            if len(self._processes) < self._workers:
                self._start_worker()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes exit after the last call; `wait` returns once they have."""
        self._close()
        if cancel_futures:
            for future in self._waiting():
                future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
            for process in self._processes:
                process.join()

    def stop(self) -> None:
        """Interrupt the running calls, drop the waiting ones and wait for the processes to exit."""
        self.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + _KILL_SECONDS
        for process in self._processes:
            while process.is_alive():
                process.join(GRACE_SECONDS)
                # An exception that a signal raises in a finalizer is lost: signal again.
                process.terminate() if time.monotonic() < deadline else process.kill()

    def _start_worker(self) -> None:
        connection, theirs = Pipe()
        process = self._start(_serve_calls, theirs, self._initializer, self._arguments)
        # The connection ends with the process only if no other process has this end open.
        theirs.close()
        # A thread that is unpickling a result does not delay the exit of this process.
        thread = threading.Thread(target=self._feed, args=(connection, process), daemon=True)
        thread.start()
        self._processes.append(process)
        self._threads.append(thread)

    def _feed(self, connection: Connection, process: BaseProcess) -> None:
        """Send one task after another to a process until there are no more."""
        with connection:
            while (task := self._tasks.get()) is not None:
                try:
                    _run_remotely(connection, *task)
                except _ProcessEnded:
                    process.join(GRACE_SECONDS)
                    code = process.exitcode
                    if unguarded := main_guard_error(code):
                        task[0].set_exception(self._break(unguarded))
                        return
                    message = f"a worker process {how_ended(code)}"
                    if ran_out_of_memory(code):
                        message += f"; {memory_remedy(self._fewer)}"
                    killed = WorkerKilled(message, code)
                    is_replaced = self._replace(process)
                    task[0].set_exception(killed if is_replaced else self._break(killed))
                    return
                # Do not hold the result while waiting for the next task.
                del task

    def _replace(self, process: BaseProcess) -> bool:
        """Start a process in place of one that was killed; return whether the pool does so."""
        with self._lock:
            if not self._replace_killed or self._is_closed:
                return False
            self._processes.remove(process)
            self._threads.remove(threading.current_thread())
            self._start_worker()
            return True

    def _break(self, error: QCError) -> QCError:
        """Fail all calls, because a process has ended before it returned a result.

        Returns:
            How the first process ended; the others end because of it.
        """
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            error = self._broken_by = self._broken_by or error
        for future in self._waiting():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        if not was_closed:
            for process in self._processes:
                process.terminate()
        return error

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True

    def _waiting(self) -> Iterator[Future[Any]]:
        """Remove the calls that no process has begun."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None:
                yield task[0]


class _ProcessEnded(Exception):
    """A worker process ended before it returned a result."""


def _run_remotely(connection: Connection, future: Future[Any], call: _Call) -> None:
    """Run a call in a worker and resolve its future, unless the worker ends (_ProcessEnded)."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        request = pickle.dumps(call)
    except Exception as error:
        future.set_exception(error)
        return
    try:
        connection.send_bytes(request)
        answer = connection.recv_bytes()
    except (EOFError, OSError):
        raise _ProcessEnded from None
    try:
        value, error, text = pickle.loads(answer)
    except Exception as problem:
        future.set_exception(problem)
        return
    if error is None:
        future.set_result(value)
    else:
        error.__cause__ = _RemoteTraceback(text)
        future.set_exception(error)


class _RemoteTraceback(Exception):
    """The traceback of an error in a worker process, as the error's cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve_calls(
    connection: Connection,
    initializer: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> None:
    """The main function of a worker process: run calls until the parent closes the connection."""
    exit_with_parent()
    configure_logging()
    if initializer is not None:
        initializer(*arguments)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _answer(request: bytes) -> bytes:
    """Run a call; returns its pickled value, error and traceback."""
    try:
        function, args, kwargs = pickle.loads(request)
        with running():
            value = function(*args, **kwargs)
        return pickle.dumps((value, None, ""))
    except BaseException as error:
        if interruption.is_requested():
            raise
        text = traceback.format_exc()
        if isinstance(error, WorkerKilled):
            # The worker of a pool inside this call: the caller's own pool works.
            error = TransientError(str(error))
        try:
            return pickle.dumps((None, error, text))
        except Exception:
            reason = " ".join(str(error).split())
            return pickle.dumps((None, RunError(f"{type(error).__name__}: {reason}"), text))


def futures_in_order(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
) -> Iterator[Future[Result]]:
    """Yield the futures of a call per item, at most `ahead` of them running or not yet yielded."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        if len(pending) == ahead:
            yield pending.popleft()
        pending.append(pool.submit(function, item))
    while pending:
        yield pending.popleft()

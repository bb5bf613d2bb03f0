"""Starts processes that exit with their parent and print no traceback on shutdown."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, util
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from qc_core import interruption
from qc_core.errors import UsageError
from qc_core.interruption import Interrupted
from qc_core.scratch import SCRATCH, temporary_folder

# The numeric libraries read these variables once, when a process imports them.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Imported once for all processes that `start_forked` starts.
_PRELOADED = ("qc_core.envs.preloaded",)
# Imported too if this process has imported them, or has asked for them by `preload`.
_LIBRARIES = ("torch", "onnxruntime")
_wanted: set[str] = set()

_MAX_SOCKET_FOLDER = 40

# Environment variables belong to all threads: one starts a process at a time.
_starting = threading.Lock()
# How a process ends that would start others while it imports the main module.
_NO_MAIN_GUARD = 97

# Time for interrupted work to clean up before its process is signalled again.
GRACE_SECONDS = 3

# Whether this process, which has called `exit_with_parent`, is doing work.
_is_running = False


@functools.cache
def _make_socket_folder() -> None:
    """Let multiprocessing put its sockets into a folder that is found if this process is killed.

    The path of a socket has at most 107 characters, and that of the temporary folder may be long.
    Processes that this one starts inherit the folder.
    """
    if parent_process() is not None:
        return
    system_folder = tempfile.tempdir
    parent = Path(tempfile.gettempdir())
    opened = contextlib.ExitStack()
    folder = opened.enter_context(
        temporary_folder(
            parent if len(str(parent)) <= _MAX_SOCKET_FOLDER else Path("/tmp"),
            f"{SCRATCH}processes-",
        )
    )
    try:
        tempfile.tempdir = str(folder)
        util.get_temp_dir()
    finally:
        tempfile.tempdir = system_folder
    # After multiprocessing has removed its own folder inside.
    util.Finalize(None, opened.close, exitpriority=-200)


def start_fresh(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that imports everything itself."""
    _make_socket_folder()
    process = get_context("spawn").Process(target=target, args=arguments)
    with _starting:
        _start(process)
    return process


def preload(library: str) -> None:
    """Let the server of `start_forked` import a library that only its processes use.

    It must be called before the server starts; later, each process imports the library itself.
    """
    _wanted.add(library)


def start_forked(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that computes in one thread, in some milliseconds.

    It is forked from a server process that has imported the large libraries; the first call in each
    process starts a server, which ends with this process. Do not use a GPU in it.
    """
    _make_socket_folder()
    context = get_context("forkserver")
    libraries = [name for name in _LIBRARIES if name in sys.modules or name in _wanted]
    context.set_forkserver_preload([*_PRELOADED, *libraries])
    with _starting, one_thread_each():
        environment = dict(os.environ)
        process = context.Process(target=_in_environment, args=(environment, target, arguments))
        _start(process)
    return process


def _start(process: BaseProcess) -> None:
    """Start a process (RuntimeError: this process is still importing its parent's main module)."""
    try:
        process.start()
    except RuntimeError as error:
        if "bootstrapping" in str(error):
            # The callers clean up; then the exit code tells the parent, instead of a traceback.
            sys.excepthook = lambda *_: os._exit(_NO_MAIN_GUARD)
        raise


def main_guard_error(exit_code: int | None) -> UsageError | None:
    """Return the error of a script without a main guard, None if the process ended otherwise."""
    if exit_code != _NO_MAIN_GUARD:
        return None
    script = getattr(sys.modules["__main__"], "__file__", "the main module")
    return UsageError(
        f"{script} starts processes while it is imported, and each process imports it: move its "
        'calls below if __name__ == "__main__":'
    )


def _in_environment(
    environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    # The server has the environment variables of the time when it started.
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def how_ended(exit_code: int | None) -> str:
    """Return how a process ended, for messages: `was killed by signal 11 (SIGSEGV)`."""
    if exit_code is None:
        return "does not answer"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else "unknown"
    cause = ": the system does so when memory runs out" if ran_out_of_memory(exit_code) else ""
    return f"was killed by signal {-exit_code} ({name}){cause}"


def ran_out_of_memory(exit_code: int | None) -> bool:
    """Return whether a process probably ended because memory ran out: it was killed by SIGKILL."""
    return exit_code == -signal.SIGKILL


def memory_remedy(fewer: str = "") -> str:
    """Return what helps work whose process was killed because memory ran out.

    Args:
        fewer: options that set the number of processes at once, such as `--data.workers`.
    """
    return "give it more memory" + (f", or lower {fewer}" if fewer else "")


def exit_with_parent() -> None:
    """Let only the parent process end this one: on its SIGTERM, or when the parent exits.

    Work inside `running` is interrupted by `Interrupted` and can clean up. Ctrl-C is ignored.
    """
    # Ctrl-C reaches all processes of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    sys.unraisablehook = _report_unraisable
    threading.Thread(target=_watch_parent, daemon=True).start()


@contextmanager
def running() -> Iterator[None]:
    """Work that SIGTERM interrupts with `Interrupted`; then the process exits."""
    global _is_running
    try:
        _is_running = True
        yield
    finally:
        _is_running = False
        if interruption.is_requested():
            sys.exit(1)


def _stop(number: int, frame: FrameType | None) -> None:
    """Interrupt the running work; exit at once if there is none."""
    if not _is_running:
        os._exit(1)
    interruption.handle(number, frame)


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_type not in (Interrupted, SystemExit):
        sys.__unraisablehook__(unraisable)


def _watch_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that start within this block compute in one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Interrupts work on SIGTERM or Ctrl-C, at a point where its state can be saved.

A signal raises `Interrupted` in the main thread. Inside `deferred()` it is only noted: a training
finishes its step and saves. If that takes too long, the signal interrupts it anyway. An exception
in an import would crash extension modules: an import that takes long ends the process instead.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Kubernetes, batch systems and people wait this long before they kill a process.
SECONDS_TO_SAVE = 8.0
# Several processes may signal this one because of one event: the second signal must not interrupt
# the cleanup. An exception that a signal raises in a finalizer is lost: later signals interrupt.
_SECONDS_TO_CLEAN_UP = 1.5
_SECONDS_TO_IMPORT = 1.0
_SECONDS_BETWEEN_TRIES = 0.05

_requested: int | None = None
_requested_at = _raised_at = -math.inf
_deferrals = 0
_timer: threading.Timer | None = None


def _say_nothing(_: object) -> None:
    pass


_leave: Callable[[Interrupted], object] = _say_nothing
_before: Callable[[], object] = bool


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C ended the work; the message says what was saved, or is empty."""

    @property
    def exit_code(self) -> int:
        """The code that shells report for the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self._signal

    @property
    def line(self) -> str:
        """What happened, in one line."""
        cause = "Ctrl-C" if self._signal == signal.SIGINT else signal.Signals(self._signal).name
        return f"interrupted by {cause}" + (f": {self}" if str(self) else "")

    @property
    def _signal(self) -> int:
        return _requested or signal.SIGINT


def raise_on(*signals: int, leave: Callable[[Interrupted], object] = _say_nothing) -> None:
    """Let these signals raise `Interrupted` in this process.

    Args:
        leave: called before the process exits in an import.
    """
    global _leave
    _leave = leave
    for number in signals:
        signal.signal(number, handle)


def handle(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise `Interrupted`, or note the signal if the interruption is deferred."""
    global _requested, _requested_at, _raised_at
    now = time.monotonic()
    if _requested is None:
        _requested, _requested_at = number, now
        if _deferrals:
            # The step that is running may never end.
            _signal_again(number, after=SECONDS_TO_SAVE)
    may_save = _deferrals and now < _requested_at + SECONDS_TO_SAVE
    if may_save or now < _raised_at + _SECONDS_TO_CLEAN_UP:
        return
    if _is_importing(frame):
        if now > _requested_at + _SECONDS_TO_IMPORT:
            _leave(interrupted := Interrupted())
            os._exit(interrupted.exit_code)
        _signal_again(number, after=_SECONDS_BETWEEN_TRIES)
        return
    _raised_at = now
    _before()
    raise Interrupted


def _signal_again(number: int, *, after: float) -> None:
    global _timer
    _timer = threading.Timer(after, os.kill, (os.getpid(), number))
    _timer.daemon = True
    _timer.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def before(action: Callable[[], object]) -> Iterator[None]:
    """Call `action` before `Interrupted` is raised in the block."""
    global _before
    earlier, _before = _before, action
    try:
        yield
    finally:
        _before = earlier


def is_requested() -> bool:
    """Whether a signal has arrived."""
    return _requested is not None


@contextmanager
def deferred() -> Iterator[None]:
    """Note signals in the block instead of raising `Interrupted`, for `SECONDS_TO_SAVE`."""
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
        if not _deferrals and _timer is not None:
            _timer.cancel()

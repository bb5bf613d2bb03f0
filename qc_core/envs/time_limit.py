"""Limits how long a call into an environment may take.

Such a call cannot be interrupted inside its process: it may be compiled code. In a process that has
called `end_if_it_hangs`, the system ends the process when a call takes too long.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from qc_core.errors import UsageError

TIMEOUT_VARIABLE = "QC_STEP_TIMEOUT"
# A step may take as many control intervals: simulators are seldom slower than a tenth of real time.
_INTERVALS = 600
_MIN_SECONDS = 30.0
# Making or resetting an environment may take as many times longer than a step.
_RESET_FACTOR = 10
LIMITS = (
    f"a step may take {_INTERVALS} control intervals, at least {_MIN_SECONDS:.0f} s, a reset "
    f"{_RESET_FACTOR} times as long; {TIMEOUT_VARIABLE} sets other seconds for a step"
)

_ends_when_it_hangs = False


def end_if_it_hangs() -> None:
    """Let calls into environments end this process when they take too long."""
    global _ends_when_it_hangs
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _ends_when_it_hangs = True


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of a step."""
    if not _ends_when_it_hangs:
        yield
        return
    # The default action of this alarm ends the process, also in compiled code.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def reset_limit(step_seconds: float) -> Iterator[None]:
    """Limit the time of making, resetting or closing an environment.

    Args:
        step_seconds: what a step may take.
    """
    with time_limit(_RESET_FACTOR * step_seconds):
        yield


def step_seconds_for(control_interval: float | None) -> float:
    """Return the seconds that a step may take (UsageError: `QC_STEP_TIMEOUT` is invalid)."""
    if not (text := os.environ.get(TIMEOUT_VARIABLE)):
        return max(_MIN_SECONDS, _INTERVALS * (control_interval or 0.0))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageError(
            f"{TIMEOUT_VARIABLE} must be a number of seconds below 1,000,000, got {text[:50]!r}"
        )
    return seconds

"""How a step reports its work: start and end, progress bars, errors.

On a terminal, progress is a tqdm bar. In a pod's log, it is a line every few seconds. In a step of
a local run it is also sent as events to `qc run`, which shows the bars of all steps.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

from qc_core import interruption
from qc_core.errors import DEBUG_VARIABLE, QCError
from qc_core.events import (
    EVENTS_VARIABLE,
    ProgressUpdated,
    StepFailed,
    StepFinished,
    StepStarted,
    send_event,
    when_run_ends,
)
from qc_core.interruption import Interrupted
from qc_core.log import configure_logging, is_quiet, log, printable

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS_BETWEEN_EVENTS = 0.25
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_FRAMES = 0.1
# tqdm's default, but with the rate never inverted to seconds per unit.
_BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
# The state of a bar as a line of a log.
_LINE_FORMAT = (
    "{desc}: {n_fmt}/{total_fmt}{unit}s, {rate_noinv_fmt}, {elapsed} elapsed, {remaining} left"
    "{postfix}"
)


@contextmanager
def step(name: str, description: str) -> Iterator[None]:
    """Log the start of a pipeline step, and its duration or its error in one line.

    Raises:
        SystemExit: the work raised a `QCError` or was interrupted by a signal; the exit code is
            the error's. If `QC_DEBUG` is set, the error itself is raised, for its traceback.
    """
    configure_logging()
    interruption.raise_on(signal.SIGINT, signal.SIGTERM)
    log.info(f"{name}: {description}", extra={"event": StepStarted(name, description)})
    start = time.monotonic()
    try:
        with when_run_ends(partial(os.kill, os.getpid(), signal.SIGTERM)):
            yield
    except QCError as error:
        message = printable(str(error))
        event = StepFailed(name, message, error.exit_code)
        log.error(f"{name}: {message}", extra={"event": event})
        if os.environ.get(DEBUG_VARIABLE):
            raise
        raise SystemExit(error.exit_code) from None
    except Interrupted as stop:
        log.error(f"{name}: {stop.line}")
        raise SystemExit(stop.exit_code) from None
    except Exception as error:
        message = printable(f"{type(error).__name__}: {error}")
        send_event(StepFailed(name, message, exit_code=1))
        raise
    seconds = time.monotonic() - start
    log.info(f"{name}: done in {seconds:.1f} s", extra={"event": StepFinished(name)})


class Progress:
    """A count towards a total, with a rate, the time left and a short note.

    Args:
        label: what is counted, a word or two.
        unit: of the count, singular.
        done: what an earlier process counted already.
    """

    def __init__(self, total: int, label: str, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._count, self._note = done, ""
        self._sends_events = bool(os.environ.get(EVENTS_VARIABLE))
        self._last_event = 0.0
        self._bar = progress_bar(total, label, unit, done)
        self._send()

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Count work done; `note` is shown after the bar until another note replaces it."""
        if note is not None:
            self._note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._count += count
        self._bar.update(count)
        now = time.monotonic()
        if now - self._last_event >= _SECONDS_BETWEEN_EVENTS:
            self._last_event = now
            self._send()

    def close(self) -> None:
        """Show the final state."""
        self._bar.close()
        self._send(closed=True)

    def _send(self, closed: bool = False) -> None:
        if self._sends_events:
            send_event(
                ProgressUpdated(
                    process=os.getpid(),
                    label=self._label,
                    count=self._count,
                    total=self._total,
                    unit=self._unit,
                    note=self._note,
                    closed=closed,
                )
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def progress_bar(total: int, label: str, unit: str, done: int = 0) -> tqdm:
    """Return a bar on stderr: a drawn one on a terminal, otherwise a line every few seconds."""
    # A robot, which only runs a policy, does not have tqdm.
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit=f" {unit}",
        unit_scale=unit == "byte",
        dynamic_ncols=terminal,
        mininterval=_SECONDS_BETWEEN_FRAMES if terminal else _SECONDS_BETWEEN_LINES,
        # Otherwise tqdm draws extra lines when the rate drops.
        miniters=None if terminal else 1,
        bar_format=_BAR_FORMAT if terminal else _LINE_FORMAT,
        # In a log, bars have no position of their own to move the cursor to.
        position=None if terminal else 0,
        file=sys.stderr if terminal else _LineWriter(sys.stderr),
        disable=is_quiet(),
    )


class _LineWriter:
    """Turns each state of a bar into a line of a log, which knows no carriage return."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        text = text.strip("\r\n").rstrip()
        if text:
            self._stream.write(text + "\n")

    def flush(self) -> None:
        self._stream.flush()

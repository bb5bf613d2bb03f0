"""How a step tells a person what it is doing.

A step announces itself, counts its work and reports figures through this module and
nothing else. On a terminal that is a bar; in a pod's log it is a line now and then; under
`qc run`, which draws for several processes at once, it is one JSON event per line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from qc_core.errors import DEBUG_VARIABLE, QCError
from qc_core.log import configure, log, printable

if TYPE_CHECKING:
    from tqdm import tqdm

EVENTS_VARIABLE = "QC_PROGRESS_EVENTS"
EVENT_PREFIX = "@qc "
_EVENT_INTERVAL = 0.25
_LOG_INTERVAL = 10.0


def _as_events() -> bool:
    return bool(os.environ.get(EVENTS_VARIABLE))


def emit(kind: str, **fields: Any) -> None:
    """Write one event for the process that draws."""
    # One write per line: two processes may share the pipe.
    sys.stdout.write(EVENT_PREFIX + json.dumps({"event": kind, **fields}) + "\n")
    sys.stdout.flush()


class _EventHandler(logging.Handler):
    """Passes messages to the process that draws."""

    def emit(self, record: logging.LogRecord) -> None:
        emit("say", text=printable(record.getMessage()))


def show_messages() -> None:
    """Show this process's messages on stderr, or pass them to the process that draws."""
    configure(_EventHandler() if _as_events() else None)


@contextmanager
def step(name: str, description: str) -> Iterator[None]:
    """Announce a step of the pipeline and how long it took, or in one line why it failed.

    An expected error ends the process with its exit code, and with its traceback only where
    `QC_DEBUG` is set.
    """
    show_messages()
    if _as_events():
        emit("step", name=name, description=description)
    else:
        log.info(f"{name}: {description}")
    start = time.monotonic()
    try:
        yield
    except QCError as error:
        if _as_events():
            emit("error", name=name, message=printable(str(error)), code=error.exit_code)
        else:
            log.info(f"{name}: {error}")
        if os.environ.get(DEBUG_VARIABLE):
            raise
        raise SystemExit(error.exit_code) from None
    if _as_events():
        emit("step-done", name=name)
    else:
        log.info(f"{name}: done in {time.monotonic() - start:.1f} s")


class Progress:
    """A count towards a total, with a rate, an ETA and a short note.

    Args:
        done: what an earlier process has counted already.
    """

    def __init__(self, total: int, label: str, unit: str, done: int = 0) -> None:
        self._events = _as_events()
        self._label, self._total, self._unit = label, total, unit
        self._count, self._note, self._last = done, "", 0.0
        self._bar: tqdm | None = None
        if not self._events:
            # Who only runs a policy has no tqdm.
            from tqdm import tqdm

            terminal = sys.stderr.isatty()
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=label,
                unit=unit,
                dynamic_ncols=terminal,
                mininterval=0.1 if terminal else _LOG_INTERVAL,
                file=sys.stderr if terminal else _LineByLine(sys.stderr),
            )

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Count work done; `note` is shown behind the bar until the next one."""
        if note is not None:
            self._note = note
        if self._bar is not None:
            if note is not None:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        self._count += count
        now = time.monotonic()
        if now - self._last >= _EVENT_INTERVAL or self._count >= self._total:
            self._last = now
            self._emit()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._emit(closed=True)

    def _emit(self, closed: bool = False) -> None:
        emit(
            "progress",
            process=os.getpid(),
            label=self._label,
            count=self._count,
            total=self._total,
            unit=self._unit,
            note=self._note,
            closed=closed,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LineByLine:
    """A log has no carriage return: each state of the bar becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            self._stream.write(text + "\n")

    def flush(self) -> None:
        self._stream.flush()

"""Messages for the person who runs a command or reads a pod's log, through Python's logging.

Modules call `log.info(…)`. Entry points (the `qc` command, pipeline steps, worker processes) call
`configure_logging()`. A program that imports the runtime configures logging as it likes.
"""

from __future__ import annotations

import logging
import os
import sys

log = logging.getLogger("qc")
# Set by `--quiet`, for the processes that a command starts too.
QUIET_VARIABLE = "QC_QUIET"


def is_quiet() -> bool:
    """Return whether only results and errors are shown."""
    return bool(os.environ.get(QUIET_VARIABLE))


def printable(text: str) -> str:
    """Replace characters that would control a terminal or start another line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def configure_logging() -> None:
    """Write messages to stderr, and in a step of a local run also send them to `qc run`.

    If `QC_QUIET` is set, only errors.
    """
    log.handlers[:] = [_StderrHandler(), _EventHandler()]
    log.setLevel(logging.ERROR if is_quiet() else logging.INFO)
    log.propagate = False


class _StderrHandler(logging.Handler):
    """Writes each message as one line to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)


class _EventHandler(logging.Handler):
    """Sends each message to `qc run`: the record's attribute `event`, or its text."""

    def emit(self, record: logging.LogRecord) -> None:
        # Imported here: `qc --help` needs only the standard library.
        from qc_core.events import Message, send_event

        event = getattr(record, "event", None)
        send_event(event or Message(printable(record.getMessage())))

"""Messages for the person who runs a command or reads a pod's log, through Python's logging.

Modules call `log.info(…)`. Entry points (the `qc` command, pipeline steps, worker processes) call
`configure()`; a program that imports the runtime configures logging as it likes.
"""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("qc")


def printable(text: str) -> str:
    """Replace characters that would control a terminal or start another line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Handler(logging.Handler):
    """Writes each message as one line to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)


def configure(handler: logging.Handler | None = None) -> None:
    """Show messages on stderr, or pass them to `handler`."""
    log.handlers[:] = [handler or _Handler()]
    log.setLevel(logging.INFO)
    log.propagate = False

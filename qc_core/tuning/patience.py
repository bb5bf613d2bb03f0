"""Waits for a database that does not answer, such as one that restarts.

Every connection to a study storage is made here. Workers that are computing need not wait: they try
again later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine

from qc_core.errors import UsageError
from qc_core.log import log

TIMEOUT_VARIABLE = "QC_STUDY_TIMEOUT"
_DEFAULT_TIMEOUT_SECONDS = 60.0
_CONNECT_SECONDS = 10
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.2, 5.0
# What a database says that answers, and will not accept the same connection later either.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry")
_waits: ContextVar[bool] = ContextVar("waits", default=True)


@contextmanager
def without_waiting() -> Iterator[None]:
    """Let connections in the block fail at once if the database does not answer."""
    token = _waits.set(False)
    try:
        yield
    finally:
        _waits.reset(token)


@event.listens_for(Engine, "do_connect")
def _connect(dialect: Dialect, _: object, arguments: Any, options: dict[str, Any]) -> Any:
    """Connect, and try again for up to `QC_STUDY_TIMEOUT` seconds (60)."""
    if dialect.name == "sqlite":
        # It is a file on this machine.
        return None
    options.setdefault("connect_timeout", _CONNECT_SECONDS)
    seconds = timeout_seconds() if _waits.get() else 0.0
    start, pause, attempts = time.monotonic(), _FIRST_PAUSE_SECONDS, 0
    while True:
        try:
            connection = dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            spent = time.monotonic() - start
            if spent + pause > seconds or any(text in str(error) for text in _REFUSALS):
                raise
            if not attempts:
                log.info(
                    f"the study storage does not answer; trying again for up to {seconds:.0f} s"
                )
            attempts += 1
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        else:
            if attempts:
                log.info(
                    f"the study storage answers after {time.monotonic() - start:.0f} s "
                    f"and {attempts} failed attempts"
                )
            return connection


def timeout_seconds() -> float:
    """Return the seconds to wait for a database, `QC_STUDY_TIMEOUT` (UsageError: invalid)."""
    text = os.environ.get(TIMEOUT_VARIABLE) or str(_DEFAULT_TIMEOUT_SECONDS)
    try:
        seconds = float(text)
        # Comparisons with NaN are false.
        if not 0 <= seconds <= 86400:
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"{TIMEOUT_VARIABLE} must be seconds from 0 to 86400, got {text[:50]!r}"
        ) from error
    return seconds

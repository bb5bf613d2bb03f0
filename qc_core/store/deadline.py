"""A time limit for requests to a server that may fail, be slow or never answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from qc_core.log import log
from qc_core.store.objects import StoreUnavailable

_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 5.0
# A person who waits longer than this is informed.
_SILENT_SECONDS = 3.0
# Of the time of an operation, for one attempt: a lost request leaves time for another.
SHARE = 1 / 3
T = TypeVar("T")


class Unanswered(Exception):
    """A request failed in a way that may pass; the message is the reason."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        """
        Args:
            retry_after: seconds to wait at least, as the server wishes.
        """
        super().__init__(reason)
        self.retry_after = retry_after


class CutShort(Unanswered):
    """A request had less than its share of the time, because the deadline came."""


class Deadline:
    """The time that an operation may take, with all its attempts.

    Args:
        store: the store, for messages.
        seconds: from now on.
    """

    def __init__(self, store: str, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._start = time.monotonic()

    @property
    def left(self) -> float:
        """Remaining seconds, negative after the deadline."""
        return self._start + self._seconds - time.monotonic()

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it no longer raises Unanswered, with growing pauses in between.

        Raises:
            StoreUnavailable: the deadline is over.
        """
        pause, failed, logged, reason = _FIRST_PAUSE_SECONDS, 0, False, ""
        while True:
            try:
                result = attempt()
            except Unanswered as error:
                if not reason or not isinstance(error, CutShort):
                    reason = str(error)
                wait = max(error.retry_after, random.uniform(0.5, 1) * pause)
                if wait >= self.left:
                    raise StoreUnavailable(
                        f"{self._store} does not answer: {reason} ({self._seconds:.0f} s); "
                        "check QC_S3_ENDPOINT, or wait longer with QC_S3_TIMEOUT"
                    ) from error
                if not logged and self._seconds - self.left > _SILENT_SECONDS:
                    log.info(
                        f"{self._store} does not answer: {reason}; trying again for up to "
                        f"{self.left:.0f} s"
                    )
                    logged = True
                failed += 1
                time.sleep(wait)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            else:
                if logged:
                    log.info(
                        f"{self._store} answers after {self._seconds - self.left:.0f} s and "
                        f"{failed} failed attempts"
                    )
                return result

    def limit(self, call: Callable[[], T]) -> T:
        """Return the result of a call that blocks, such as reading from a connection.

        A timeout of a socket starts again with every byte, so a server that sends a byte from time
        to time would block forever. Therefore another thread waits for the server.

        Raises:
            Unanswered: it takes more than its share of the time; CutShort if the rest was less. It
                may still be running, and its result is dropped.
        """
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(call())
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, name="store-request", daemon=True).start()
        share = self._seconds * SHARE
        seconds = max(min(self.left, share), 0.0)
        try:
            return result.result(seconds)
        except FutureTimeout as error:
            if result.done():
                return result.result()
            kind = CutShort if seconds < share else Unanswered
            raise kind("no complete answer") from error

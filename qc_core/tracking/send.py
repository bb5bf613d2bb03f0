"""The process that sends metrics to a tracker: `python -m qc_core.tracking.send TRACKER SOCKET`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from qc_core.tracking.metrics import Point

# The class of each tracker, `module:class`, imported when it is used.
TRACKERS = {
    "mlflow": "qc_core.tracking.mlflow_run:MLflowRun",
    "wandb": "qc_core.tracking.wandb_run:WandbRun",
}
_MAX_MESSAGE = 1_000_000
# Points that wait for a tracker that does not answer; older ones are dropped.
_MAX_WAITING = 2000
# Time for the rest after the training has ended.
_MAX_SECONDS_AFTER_END = 60.0
# Training has priority.
_NICENESS = 10


class Tracker(Protocol):
    """A run in a tracker. Every method may be called again after an error, `begin` of a new one."""

    def begin(self) -> None:
        """Find or create the run."""
        ...

    def log(self, points: list[Point]) -> None: ...

    def result(self, content: dict[str, Any]) -> None:
        """Log the result of the run: `metrics`, `tags`, `time` and `artifacts`, paths by name."""
        ...

    def end(self, state: str) -> None: ...


class Messages:
    """The messages of the training in their order, each until it has been sent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.points: list[Point] = []
        self.result: dict[str, Any] | None = None
        self.state: str | None = None

    def receive(self, *, wait: bool) -> bool:
        """Take all messages that are there, and wait for the first one; False at the end."""
        self._connection.setblocking(wait)
        while True:
            try:
                content = self._connection.recv(_MAX_MESSAGE)
            except BlockingIOError:
                return True
            except OSError:
                content = b""
            if not content:
                # The process of the training was killed, unless it has sent its end.
                self.state = self.state or "failed"
                return False
            self._take(json.loads(content))
            self._connection.setblocking(False)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind == "point":
            self.points = [*self.points, Point(**message)][-_MAX_WAITING:]
        elif kind == "result":
            self.result = message
        else:
            self.state = message["state"]


def serve(connection: socket.socket, make: Callable[[dict[str, Any]], Tracker]) -> None:
    """Send what arrives at the connection to a tracker, until both ends are done.

    What fails is tried again with the next message, and for a minute after the end. The first
    failure is reported through the connection.
    """
    first = json.loads(connection.recv(_MAX_MESSAGE))
    first.pop("kind")
    messages, tracker = Messages(connection), None
    reported, deadline, pause = False, None, 0.5
    while True:
        try:
            if tracker is None:
                made = make(first)
                made.begin()
                tracker = made
            if messages.points:
                tracker.log(messages.points)
                messages.points = []
            if messages.result is not None:
                tracker.result(messages.result)
                messages.result = None
            if messages.state is not None:
                tracker.end(messages.state)
                return
        except Exception as error:
            if not reported:
                reported = True
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
                with contextlib.suppress(OSError):
                    connection.send(f"{first['tracker']} gets no metrics: {reason}".encode())
        if deadline is None:
            if not messages.receive(wait=True):
                deadline = time.monotonic() + _MAX_SECONDS_AFTER_END
        elif time.monotonic() > deadline:
            return
        else:
            time.sleep(pause)
            pause *= 2


def main(tracker: str, descriptor: int) -> None:
    os.nice(_NICENESS)
    module, _, name = TRACKERS[tracker].partition(":")
    connection = socket.socket(fileno=descriptor)
    with connection:
        serve(connection, lambda first: getattr(import_module(module), name)(first))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

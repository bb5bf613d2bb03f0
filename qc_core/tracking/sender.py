"""A process that sends the metrics of a training to a tracker, however slow the tracker is.

The training writes messages to a socket and never waits for the process: if the socket is full, a
point is dropped. Imports, retries, hanging connections and crashes of the tracker's client stay in
that process.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from qc_core.log import log
from qc_core.tracking.metrics import Point

# Long enough for the last points of a tracker that answers.
DEFAULT_PATIENCE = 0.5


class Sender:
    """The training's end of the connection to the process.

    Args:
        tracker: name of a tracker in `qc_core.tracking.send`.
        first: the first message: what is tracked.
        patience: seconds that this waits for the process at the end of the training, unless the
            tracker does not answer. On one machine, the process continues after that.
    """

    def __init__(
        self, tracker: str, first: dict[str, Any], patience: float = DEFAULT_PATIENCE
    ) -> None:
        self._patience = patience
        # A socket of messages: each arrives complete.
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "qc_core.tracking.send", tracker, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C ends the training, whose last points are still sent.
                start_new_session=True,
            )
        self._socket.setblocking(False)
        self.send({"kind": "start", **first})

    def start(self, step: int) -> None:
        """Nothing: trackers take points of any step."""

    def log(self, point: Point) -> None:
        self.send({"kind": "point", **point._asdict()})

    def result(
        self, metrics: dict[str, float], tags: dict[str, str], artifacts: dict[str, Path]
    ) -> None:
        """Send the result of the run; `artifacts` are files by the names that the tracker shows."""
        paths = {name: str(path) for name, path in artifacts.items()}
        content = {"metrics": metrics, "tags": tags, "artifacts": paths, "time": time.time()}
        self.send({"kind": "result", **content})

    def close(self, state: str) -> None:
        deadline = time.monotonic() + self._patience
        with self._socket:
            self._wait_for_room(deadline)
            self.send({"kind": "end", "state": state})
            self._socket.shutdown(socket.SHUT_WR)
            # Without a message, the process has ended; after one, the tracker does not answer.
            if self._can_read(deadline - time.monotonic()):
                self._report()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message if there is room; drop it otherwise."""
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode())
        if self._can_read(0):
            self._report()

    def _wait_for_room(self, deadline: float) -> None:
        select.select([], [self._socket], [], max(0, deadline - time.monotonic()))

    def _can_read(self, seconds: float) -> bool:
        return bool(select.select([self._socket], [], [], max(0, seconds))[0])

    def _report(self) -> None:
        """Log what the process reports, if it has not ended."""
        with contextlib.suppress(OSError):
            if text := self._socket.recv(10_000).decode():
                log.warning(text)

"""Decides which clients may be connected when there are more of them than the server can hold."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Connection:
    address: str
    # Since when it waits for the client's next request; None while a request is answered.
    waiting_since: float | None


class Connections:
    """The open connections of a server.

    If all are in use, a new client replaces a waiting one: of the address with the most
    connections, the one that has waited longest for its request. So no client with slow or idle
    connections keeps others out, and a request that is being answered is never interrupted.

    Args:
        limit: maximum number of connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[socket.socket, _Connection] = {}
        self._lock = threading.Lock()
        self.replaced = 0

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: socket.socket, address: str) -> bool:
        """Add a connection, or return False if all others are being answered."""
        with self._lock:
            if len(self._open) >= self._limit:
                replaced = self._to_replace()
                if replaced is None:
                    return False
                del self._open[replaced]
                self.replaced += 1
                # Ends the thread that reads from it.
                with contextlib.suppress(OSError):
                    replaced.shutdown(socket.SHUT_RDWR)
            self._open[connection] = _Connection(address, time.monotonic())
            return True

    def remove(self, connection: socket.socket) -> None:
        """Remove a connection that has ended, or was replaced."""
        with self._lock:
            self._open.pop(connection, None)

    @contextlib.contextmanager
    def answering(self, connection: socket.socket) -> Iterator[None]:
        """Protect a connection while its request is answered."""
        self._set_waiting(connection, None)
        try:
            yield
        finally:
            self._set_waiting(connection, time.monotonic())

    def _set_waiting(self, connection: socket.socket, since: float | None) -> None:
        with self._lock:
            if connection in self._open:
                self._open[connection].waiting_since = since

    def _to_replace(self) -> socket.socket | None:
        counts = Counter(entry.address for entry in self._open.values())
        waiting = [
            (-counts[entry.address], entry.waiting_since, index, connection)
            for index, (connection, entry) in enumerate(self._open.items())
            if entry.waiting_since is not None
        ]
        return min(waiting)[3] if waiting else None

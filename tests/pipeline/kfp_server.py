"""A KFP server over HTTP on loopback, with faults that a test can inject."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.pipeline.kfp_state import State

Act = Callable[["_Handler"], None]


@dataclass
class Fault:
    """A fault of matching requests.

    Attributes:
        act: replaces the answer; None executes the request and drops its answer.
        times: number of requests that it still affects.
    """

    method: str
    path: str
    act: Act | None
    times: int


@dataclass
class KFP(State):
    """A KFP server with a URL and faults."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)

    def fail(self, method: str, path: str, act: Act | None, times: int = 1) -> None:
        """Inject a fault into requests whose method and path match."""
        self.faults.append(Fault(method, path, act, times))

    def next_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


@contextmanager
def serve(context: Any = None) -> Iterator[KFP]:
    """Serve on a free port.

    Args:
        context: an ssl.SSLContext to serve https with.
    """
    kfp = KFP()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kfp": kfp}))
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kfp.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(status: int, content: str, kind: str = "application/json") -> Act:
    """A fault: the server sends this answer instead."""

    def act(handler: _Handler) -> None:
        handler.read_body()
        handler.reply(status, content.encode(), kind)

    return act


def drop(handler: _Handler) -> None:
    """A fault: the server reads half of the body and resets the connection."""
    handler.read_body(0.5)
    handler.reset()


def late(turns: int) -> Act:
    """A fault: the proxy gives up, and the server creates the run while the client looks for it."""

    def act(handler: _Handler) -> None:
        handler.kfp.late.append((turns, handler.read_body()))
        handler.reply(504, b"upstream request timeout", "text/plain")

    return act


def slow(handler: _Handler) -> None:
    """A fault: the server does what is asked, and answers only when the client has gone."""
    parts = urlsplit(handler.path)
    handler.kfp.answer(handler.command, parts.path, {}, handler.read_body(), None)
    # It blocks until the client closes the connection.
    handler.rfile.read(1)
    handler.close_connection = True


class _Handler(BaseHTTPRequestHandler):
    kfp: KFP
    protocol_version = "HTTP/1.1"
    # Head and body are two packets; the second must not wait for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `KFP.requests`."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def read_body(self, share: float = 1.0) -> bytes:
        return self.rfile.read(int(share * int(self.headers.get("Content-Length", 0))))

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", f"{self.kfp.url}/login")
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.kfp.requests.append(f"{self.command} {parts.path}")
        fault = self.kfp.next_fault(self.command, parts.path)
        if fault is not None and fault.act is not None:
            fault.act(self)
            return
        body = self.read_body()
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            body = f"Content-Type: {kind}\r\n\r\n".encode() + body
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        authorization = self.headers.get("Authorization")
        status, content = self.kfp.answer(self.command, parts.path, query, body, authorization)
        if fault is not None:
            self.reset()
            return
        self.reply(status, json.dumps(content).encode())

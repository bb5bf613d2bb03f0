"""An HTTP proxy that forwards requests to a server and spoils some of the responses.

Each fault is a function. It receives the client's connection and a function that forwards the
request, and decides what the client sees.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HTML = b"<html><head><title>Sign in</title></head><body>Welcome</body></html>"
_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>slow</Message></Error>"
# No client may wait for it longer.
_SILENCE_SECONDS = 60.0


@dataclass
class Response:
    """A response of the server."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def replaced(self, name: str, value: str) -> Response:
        """Return the response with another value of a header, if it has that header."""
        return Response(
            self.status,
            [(key, value if key.lower() == name else old) for key, old in self.headers],
            self.body,
        )


@dataclass
class Client:
    """The connection to a client, for one request."""

    connection: socket.socket
    method: str
    rng: random.Random
    closed: threading.Event = field(default_factory=threading.Event)

    def send(self, response: Response, count: int | None = None) -> None:
        """Send a response, or its head and `count` bytes of its body."""
        self.connection.sendall(self.encode(response, count))

    def encode(self, response: Response, count: int | None = None) -> bytes:
        lines = [f"HTTP/1.1 {response.status} {http.client.responses.get(response.status, '-')}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if not any(name.lower() == "content-length" for name, _ in response.headers):
            lines.append(f"Content-Length: {len(response.body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head + (b"" if self.method == "HEAD" else response.body[:count])

    def reset(self) -> None:
        """End the connection with RST."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


Forward = Callable[[], Response]
Fault = Callable[[Client, Forward], None]


def reset_before(client: Client, forward: Forward) -> None:
    """The connection breaks before the request arrives."""
    client.reset()


def lost_response(client: Client, forward: Forward) -> None:
    """The server does what it was asked, and its response is lost."""
    forward()
    client.reset()


def close_without_response(client: Client, forward: Forward) -> None:
    client.connection.shutdown(socket.SHUT_RDWR)


def interrupted_body(client: Client, forward: Forward) -> None:
    response = forward()
    client.send(response, client.rng.randrange(len(response.body) + 1))
    client.connection.shutdown(socket.SHUT_RDWR)


def reset_in_body(client: Client, forward: Forward) -> None:
    response = forward()
    client.send(response, client.rng.randrange(len(response.body) + 1))
    client.reset()


def shortened_body(client: Client, forward: Forward) -> None:
    """A body that is too short, with the length of what is left."""
    response = forward()
    body = response.body[: len(response.body) // 2]
    client.send(Response(*_with_length(response, body)))


def altered_body(client: Client, forward: Forward) -> None:
    """Some bytes differ. A listing has no checksum, so its XML loses a sign that it cannot lack."""
    response = forward()
    body = bytearray(response.body)
    if body.startswith(b"<?xml"):
        body[body.rindex(b">")] = client.rng.randrange(32)
    for _ in range(0 if body.startswith(b"<?xml") or not body else 3):
        body[client.rng.randrange(len(body))] ^= 1 + client.rng.randrange(255)
    client.send(Response(*_with_length(response, bytes(body))))


def wrong_etag(client: Client, forward: Forward) -> None:
    client.send(forward().replaced("etag", f'"{client.rng.getrandbits(128):032x}"'))


def throttled(client: Client, forward: Forward) -> None:
    status, body = client.rng.choice([(429, b""), (429, _SLOW_DOWN), (503, _SLOW_DOWN), (503, b"")])
    client.send(Response(status, [("Retry-After", "0"), ("Content-Type", "application/xml")], body))


def server_error(client: Client, forward: Forward) -> None:
    status = client.rng.choice([500, 502, 504])
    client.send(Response(status, [("Content-Type", "text/html")], _HTML))


def lost_response_with_error(client: Client, forward: Forward) -> None:
    """The server does what it was asked, and a gateway reports an error."""
    forward()
    server_error(client, forward)


def html_page(client: Client, forward: Forward) -> None:
    """A gateway answers with a page of its own."""
    status = client.rng.choice([200, 200, 403, 404, 302])
    client.send(Response(status, [("Content-Type", "text/html")], _HTML))


def html_in_headers_of_s3(client: Client, forward: Forward) -> None:
    """A page of a gateway with the headers of the object."""
    client.send(Response(*_with_length(forward(), _HTML)))


def empty_success(client: Client, forward: Forward) -> None:
    client.send(Response(client.rng.choice([200, 204]), [], b""))


def nonsense(client: Client, forward: Forward) -> None:
    client.connection.sendall(client.rng.randbytes(200))
    client.connection.shutdown(socket.SHUT_RDWR)


def error_of_random_bytes(client: Client, forward: Forward) -> None:
    body = client.rng.randbytes(200)
    headers = [("Content-Type", "application/xml")]
    client.send(Response(client.rng.choice([200, 400, 403, 404, 503]), headers, body))


def silence(client: Client, forward: Forward) -> None:
    client.closed.wait(_SILENCE_SECONDS)


def silence_in_body(client: Client, forward: Forward) -> None:
    response = forward()
    client.send(response, client.rng.randrange(len(response.body) + 1))
    client.closed.wait(_SILENCE_SECONDS)


def drip(client: Client, forward: Forward) -> None:
    """The response arrives byte by byte, and would take minutes."""
    for byte in client.encode(forward()):
        client.connection.sendall(bytes([byte]))
        if client.closed.wait(0.3):
            return


# Faults that last until the client's patience ends are separate: they take time.
QUICK: Sequence[Fault] = (
    reset_before,
    lost_response,
    close_without_response,
    interrupted_body,
    reset_in_body,
    shortened_body,
    altered_body,
    wrong_etag,
    throttled,
    server_error,
    lost_response_with_error,
    html_page,
    html_in_headers_of_s3,
    empty_success,
    nonsense,
    error_of_random_bytes,
)
SLOW: Sequence[Fault] = (silence, silence_in_body, drip)


def _with_length(response: Response, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    return response.status, response.replaced("content-length", str(len(body))).headers, body


class FaultProxy(ThreadingHTTPServer):
    """Forwards requests and spoils those that `choose` returns a fault for.

    Attributes:
        counts: how often each fault happened, by name.
        note: called with the headers of each request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, upstream: str, choose: Callable[[str, str], Fault | None], seed: int
    ) -> None:
        """
        Args:
            upstream: address of the server.
            choose: returns the fault for a request (method, path), or None.
        """
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.choose = urlsplit(upstream).netloc, choose
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self.note: Callable[[Any], None] = lambda headers: None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Faults break connections on purpose."""


@contextmanager
def running(proxy: FaultProxy) -> Iterator[FaultProxy]:
    """Run a proxy in another thread."""
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closed.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.note(self.headers)
        with server.lock:
            fault = server.choose(self.command, self.path)
            rng = random.Random(server.rng.getrandbits(64))
            if fault is not None:
                server.counts[fault.__name__] += 1
        client = Client(self.connection, self.command, rng, server.closed)
        with suppress(OSError):
            if fault is None:
                client.send(self._forward(body))
                return
            fault(client, lambda: self._forward(body))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _forward(self, body: bytes) -> Response:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            # A client sends a complete address to a proxy.
            target = urlsplit(self.path)._replace(scheme="", netloc="").geturl()
            headers = dict(self.headers.items()) | {"Host": self.server.upstream}
            upstream.request(self.command, target, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        dropped = ("transfer-encoding", "connection")
        headers = [
            (name, value) for name, value in answer.getheaders() if name.lower() not in dropped
        ]
        return Response(answer.status, headers, content)

    def log_message(self, format: str, *args: Any) -> None:
        pass

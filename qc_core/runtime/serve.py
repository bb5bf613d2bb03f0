"""Serves a policy over HTTP with the Open Inference Protocol, as Triton and KServe do.

GET  /v2                      name and version of the server
GET  /v2/health/live, /v2/health/ready
GET  /v2/models/NAME          inputs, outputs and the policy's contract
GET  /v2/models/NAME/ready
POST /v2/models/NAME/infer    observation [B, O] and optional noise; returns action_chunk [B, H, A]

B observations (at most 64) of O numbers; H actions per chunk of A numbers. NAME can also be
NAME/versions/1. Tensors are JSON numbers. The server draws missing noise.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

from qc_core import __version__
from qc_core.errors import QCError, UsageError
from qc_core.runtime.policy import ChunkPolicy
from qc_core.runtime.protocol import (
    MAX_BATCH,
    VERSION,
    infer,
    max_request_bytes,
    model_metadata,
    server_metadata,
)

MAX_CONNECTIONS = 64
# Requests that are parsed and answered at the same time. Parsing needs memory, and the model runs
# one request at a time.
_MAX_CONCURRENT = 2
# Time that a client has to send a complete request, and to receive the response.
_REQUEST_TIMEOUT_SECONDS = 30.0
# Bytes of a refused request that are read and discarded.
_MAX_DISCARDED = 64 << 20


class PolicyServer(ThreadingHTTPServer):
    """Serves one policy until `shutdown`.

    Args:
        address: host and port; port 0 uses a free one.
        name: name of the model in the URLs.

    Attributes:
        model_path: URL path of the model, percent-encoded.
        max_bytes: size limit of a request.
    """

    daemon_threads = True
    # The system refuses connections beyond this queue.
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], policy: ChunkPolicy, name: str) -> None:
        self.policy, self.name = policy, name
        self.model_path = "/v2/models/" + quote(name, errors="surrogateescape")
        self.max_bytes = max_request_bytes(policy)
        self.inference_slots = threading.BoundedSemaphore(_MAX_CONCURRENT)
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except Exception:
            # No thread was started, so no thread releases the connection.
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse a connection if all connections are in use."""
        return self._connections.acquire(blocking=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error in one line; a client that disconnects is not an error."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            reason = " ".join(str(error).split())
            print(f"{client_address[0]}: {type(error).__name__}: {reason}", file=sys.stderr)


class _Refused(Exception):
    """A request that gets an error response."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _RequestStream(io.RawIOBase):
    """The bytes that a client sends. Reading after the deadline raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the request has not arrived within {_REQUEST_TIMEOUT_SECONDS:g} s")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: PolicyServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version = f"q-chunking/{__version__}"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._stream = _RequestStream(self.connection)
        self.rfile = io.BufferedReader(self._stream)

    def handle_one_request(self) -> None:
        self._stream.deadline = time.monotonic() + _REQUEST_TIMEOUT_SECONDS
        super().handle_one_request()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # The server does not read the body, and must not parse it as the next request.
            self.close_connection = True
        path, models = self._path(), self._model_paths()
        ready = ("/v2/health/live", "/v2/health/ready", *(f"{model}/ready" for model in models))
        if path in ready:
            self._answer(HTTPStatus.OK, {"ready": True})
        elif path == "/v2":
            self._answer(HTTPStatus.OK, server_metadata())
        elif path in models:
            self._answer(HTTPStatus.OK, model_metadata(self.server.name, self.server.policy))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, self._not_found(f"try {self.server.model_path}"))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        try:
            # The body of a refused request is read too, so that the connection can be reused.
            body = self._body()
            if self._path() not in [f"{model}/infer" for model in self._model_paths()]:
                reason = self._not_found(f"POST to {self.server.model_path}/infer")
                raise _Refused(HTTPStatus.NOT_FOUND, reason)
            # A client that sends slowly must not block other clients, so the body is read before
            # taking a slot.
            with self.server.inference_slots:
                answer = infer(self.server.name, self.server.policy, body)
            self._answer(HTTPStatus.OK, answer)
        except _Refused as refused:
            self._refuse(refused.status, str(refused))
            if self.close_connection:
                self._discard()
        except UsageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except QCError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer an invalid request or an unsupported method with an error in JSON."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._refuse(status, (message or status.phrase)[:200])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log refused requests only, since a robot sends many requests per second."""
        if not isinstance(code, HTTPStatus) or code >= HTTPStatus.BAD_REQUEST:
            super().log_request(code, size)

    def _model_paths(self) -> tuple[str, str]:
        model = f"/v2/models/{self.server.name}"
        return model, f"{model}/versions/{VERSION}"

    def _path(self) -> str:
        return unquote(self.path, errors="surrogateescape")

    def _not_found(self, to_do: str) -> str:
        return f"there is nothing at {self.path[:200]}: {to_do}"

    def _body(self) -> bytes:
        length, limit = self.headers.get("Content-Length", ""), self.server.max_bytes
        if not length.isascii() or not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _Refused(
                HTTPStatus.LENGTH_REQUIRED,
                "Content-Length is missing or invalid: send it, without Transfer-Encoding",
            )
        if len(length) > len(str(limit)) or int(length) > limit:
            self.close_connection = True
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request body is too large: {length[:20]} bytes (limit {limit}, enough for "
                f"{MAX_BATCH} observations); send fewer observations at once",
            )
        return self.rfile.read(int(length))

    def _discard(self) -> None:
        """Read the rest of the request; if it stays unread, the client loses the response."""
        left = _MAX_DISCARDED
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (block := self.rfile.read(min(left, 1 << 16))):
                left -= len(block)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(status, {"error": reason})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.connection.settimeout(_REQUEST_TIMEOUT_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

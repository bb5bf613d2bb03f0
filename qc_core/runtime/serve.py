"""Serves a policy over HTTP with the Open Inference Protocol, as Triton and KServe do.

GET  /v2                      name and version of the server
GET  /v2/health/live, /v2/health/ready
GET  /v2/models               the policy's name and version
GET  /v2/models/NAME          inputs, outputs and the policy's contract
GET  /v2/models/NAME/ready
GET  /v2/models/NAME/config   the same as Triton's configuration of a model
POST /v2/models/NAME/infer    observation [B, O] and optional noise; returns action_chunk [B, H, A]
POST /v2/repository/index     as /v2/models, for clients of Triton
GET  /metrics                 counts and times for Prometheus

B observations (at most 64) of O numbers; H actions per chunk of A numbers. NAME can also be
NAME/versions/VERSION. Tensors are JSON numbers or binary. The server draws missing noise.
"""

from __future__ import annotations

import contextlib
import hmac
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
from qc_core.log import printable
from qc_core.runtime.connections import Connections
from qc_core.runtime.metrics import CONTENT_TYPE, Metrics
from qc_core.runtime.policy import ChunkPolicy
from qc_core.runtime.protocol import (
    BINARY_HEADER,
    MAX_BATCH,
    VERSION,
    max_request_bytes,
    model_config,
    model_index,
    model_metadata,
    read_request,
    response,
    server_metadata,
)

MAX_CONNECTIONS = 64
_JSON, _BINARY = "application/json", "application/octet-stream"
# Requests that are parsed and answered at the same time. Parsing needs memory, and the model runs
# one request at a time.
_MAX_CONCURRENT = 2
# Time that a client has to send a complete request, and to receive the response.
_REQUEST_TIMEOUT_SECONDS = 30.0
# Characters of a line of the log that a client can choose.
_MAX_LOGGED = 200
# Bytes of a refused request that are read and discarded.
_MAX_DISCARDED = 64 << 20


class PolicyServer(ThreadingHTTPServer):
    """Serves one policy until `shutdown`.

    Args:
        address: host and port; port 0 uses a free one.
        name: name of the model in the URLs.
        version: version of the policy in the store.
        token: bearer token that requests must carry, except for health checks; None needs none.

    Attributes:
        model_path: URL path of the model, percent-encoded.
        max_bytes: size limit of a request.
    """

    daemon_threads = True
    # The system refuses connections beyond this queue.
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        policy: ChunkPolicy,
        name: str,
        version: str = VERSION,
        token: str | None = None,
    ) -> None:
        self.policy, self.name, self.version, self.token = policy, name, version, token
        self.model_path = "/v2/models/" + quote(name, errors="surrogateescape")
        self.max_bytes = max_request_bytes(policy)
        self.inference_slots = threading.BoundedSemaphore(_MAX_CONCURRENT)
        self.connections = Connections(MAX_CONNECTIONS)
        self.metrics = Metrics(name, version)
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse a connection only if every other one is being answered."""
        return self.connections.admit(request, client_address[0])

    def shutdown_request(self, request: Any) -> None:
        self.connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error in one line; a client that disconnects is not an error."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            reason = " ".join(str(error).split())[:_MAX_LOGGED]
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
    # With Nagle's algorithm, a client that reuses its connection waits 40 ms for each response.
    disable_nagle_algorithm = True
    # The head and the body of a response are sent together.
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._stream = _RequestStream(self.connection)
        self.rfile = io.BufferedReader(self._stream)

    def handle_one_request(self) -> None:
        self._stream.deadline = time.monotonic() + _REQUEST_TIMEOUT_SECONDS
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # The server does not read the body, and must not parse it as the next request.
            self.close_connection = True
        server, path, models = self.server, self._path(), self._model_paths()
        ready = ("/v2/health/live", "/v2/health/ready", *(f"{model}/ready" for model in models))
        if path in ready:
            self._answer(HTTPStatus.OK, {"ready": True})
        elif not self._is_authorized():
            self._refuse_unauthorized()
        elif path == "/v2":
            self._answer(HTTPStatus.OK, server_metadata())
        elif path == "/v2/models":
            self._answer(HTTPStatus.OK, {"models": model_index(server.name, server.version)})
        elif path in models:
            metadata = model_metadata(server.name, server.version, server.policy)
            self._answer(HTTPStatus.OK, metadata)
        elif path in [f"{model}/config" for model in models]:
            self._answer(HTTPStatus.OK, model_config(server.name, server.policy))
        elif path == "/metrics":
            text = server.metrics.text(len(server.connections), server.connections.replaced)
            self._send(HTTPStatus.OK, text.encode(), CONTENT_TYPE)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, self._not_found(f"try {server.model_path}"))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        try:
            if not self._is_authorized():
                # Its body is not worth reading.
                self.close_connection = True
                self._refuse_unauthorized()
                self._discard()
                return
            # The body of a refused request is read too, so that the connection can be reused.
            body = self._body()
            if self._path() == "/v2/repository/index":
                self._answer(HTTPStatus.OK, model_index(self.server.name, self.server.version))
                return
            if self._path() not in [f"{model}/infer" for model in self._model_paths()]:
                reason = self._not_found(f"POST to {self.server.model_path}/infer")
                raise _Refused(HTTPStatus.NOT_FOUND, reason)
            self._infer(body)
        except _Refused as refused:
            self._refuse(refused.status, str(refused))
            if self.close_connection:
                self._discard()
        except UsageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except QCError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _infer(self, body: bytes) -> None:
        server, start = self.server, time.monotonic()
        # A client that sends or reads slowly must not block other clients, so only the computation
        # takes a slot.
        with server.connections.answering(self.connection), server.inference_slots:
            request = read_request(server.policy, body, self.headers.get(BINARY_HEADER))
            chunk_BHA = server.policy.chunk(request.observation_BO, request.noise)
            content, header_length = response(server.name, server.version, request, chunk_BHA)
        server.metrics.count_inference(len(chunk_BHA), time.monotonic() - start)
        if header_length is None:
            self._send(HTTPStatus.OK, content, _JSON)
        else:
            self._send(HTTPStatus.OK, content, _BINARY, {BINARY_HEADER: str(header_length)})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer an invalid request or an unsupported method with an error in JSON."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._refuse(status, (message or status.phrase)[:200])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log refused requests only, since a robot sends many requests per second."""
        if not isinstance(code, HTTPStatus) or code >= HTTPStatus.BAD_REQUEST:
            super().log_request(code, size)

    def log_message(self, format: str, *args: Any) -> None:
        """Log a line of limited length, without characters that control a terminal."""
        text = printable((format % args)[:_MAX_LOGGED])
        print(f"{self.address_string()} [{self.log_date_time_string()}] {text}", file=sys.stderr)

    def _is_authorized(self) -> bool:
        token = self.server.token
        if token is None:
            return True
        given = self.headers.get("Authorization", "").encode(errors="replace")
        return hmac.compare_digest(given, f"Bearer {token}".encode())

    def _refuse_unauthorized(self) -> None:
        reason = "the token is missing or wrong: send Authorization: Bearer TOKEN"
        content = json.dumps({"error": reason}).encode()
        self._send(HTTPStatus.UNAUTHORIZED, content, _JSON, {"WWW-Authenticate": "Bearer"})

    def _model_paths(self) -> tuple[str, ...]:
        model = f"/v2/models/{self.server.name}"
        versions = dict.fromkeys((self.server.version, VERSION))
        return model, *(f"{model}/versions/{version}" for version in versions)

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

    def _answer(self, status: HTTPStatus, content: Any) -> None:
        self._send(status, json.dumps(content).encode(), _JSON)

    def _send(
        self, status: HTTPStatus, body: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.server.metrics.count_response(status)
        self.connection.settimeout(_REQUEST_TIMEOUT_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

"""A policy behind HTTP, by the Open Inference Protocol that Triton and KServe speak too.

GET  /v2                      name and version of the server
GET  /v2/health/live, /v2/health/ready
GET  /v2/models/NAME          inputs, outputs and the policy's contract
GET  /v2/models/NAME/ready
POST /v2/models/NAME/infer    observation [B, O] and, if given, noise; action_chunk [B, H, A]

NAME may be NAME/versions/1. Tensors are JSON numbers. Noise that is not given is drawn here.
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
    MOST_ROWS,
    VERSION,
    infer,
    model_metadata,
    most_bytes,
    server_metadata,
)

MOST_CONNECTIONS = 64
# Requests that are unpacked and answered side by side: they take memory, and the model has turns.
_AT_ONCE = 2
# A client has so long for a whole request, from its last answer on, and to take its answer.
_SECONDS = 30.0
# Bytes of a refused request.
_MOST_SKIPPED = 64 << 20


class PolicyServer(ThreadingHTTPServer):
    """Serves one policy until `shutdown`.

    Args:
        address: host and port; port 0 takes a free one.
        name: of the model in the URLs.

    Attributes:
        model: its path, as clients write it.
        most_bytes: of a request.
    """

    daemon_threads = True
    # What waits beyond is turned away by the system.
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], policy: ChunkPolicy, name: str) -> None:
        self.policy, self.name = policy, name
        self.model = "/v2/models/" + quote(name, errors="surrogateescape")
        self.most_bytes = most_bytes(policy)
        self.work = threading.BoundedSemaphore(_AT_ONCE)
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except Exception:
            # No thread could be started that would do it.
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away whoever comes when all places are taken."""
        return self._places.acquire(blocking=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """That a client hangs up is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            reason = " ".join(str(error).split())
            print(f"{client_address[0]}: {type(error).__name__}: {reason}", file=sys.stderr)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Arriving(io.RawIOBase):
    """What a client sends until a deadline; then TimeoutError, however slowly it goes on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the request has not arrived within {_SECONDS:g} s")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: PolicyServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version = f"q-chunking/{__version__}"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._arriving = _Arriving(self.connection)
        self.rfile = io.BufferedReader(self._arriving)

    def handle_one_request(self) -> None:
        self._arriving.deadline = time.monotonic() + _SECONDS
        super().handle_one_request()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # Nobody reads it, and it is not the next request.
            self.close_connection = True
        path, models = self._path(), self._models()
        ready = ("/v2/health/live", "/v2/health/ready", *(f"{model}/ready" for model in models))
        if path in ready:
            self._answer(HTTPStatus.OK, {"ready": True})
        elif path == "/v2":
            self._answer(HTTPStatus.OK, server_metadata())
        elif path in models:
            self._answer(HTTPStatus.OK, model_metadata(self.server.name, self.server.policy))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, self._nothing(f"try {self.server.model}"))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        try:
            # Read also what is refused, so that the connection can go on.
            body = self._body()
            if self._path() not in [f"{model}/infer" for model in self._models()]:
                reason = self._nothing(f"POST to {self.server.model}/infer")
                raise _Refused(HTTPStatus.NOT_FOUND, reason)
            # Only now: who sends slowly is in nobody's way.
            with self.server.work:
                answer = infer(self.server.name, self.server.policy, body)
            self._answer(HTTPStatus.OK, answer)
        except _Refused as refused:
            self._refuse(refused.status, str(refused))
            if self.close_connection:
                self._read_away()
        except UsageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except QCError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, or of a method that is none here, in JSON as well."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._refuse(status, (message or status.phrase)[:200])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Twenty answers a second are no news; refusals are."""
        if not isinstance(code, HTTPStatus) or code >= HTTPStatus.BAD_REQUEST:
            super().log_request(code, size)

    def _models(self) -> tuple[str, str]:
        model = f"/v2/models/{self.server.name}"
        return model, f"{model}/versions/{VERSION}"

    def _path(self) -> str:
        return unquote(self.path, errors="surrogateescape")

    def _nothing(self, but: str) -> str:
        return f"nothing is at {self.path[:200]}: {but}"

    def _body(self) -> bytes:
        length, most = self.headers.get("Content-Length", ""), self.server.most_bytes
        if not length.isascii() or not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a request needs its Content-Length")
        if len(length) > len(str(most)) or int(length) > most:
            self.close_connection = True
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a request has at most {most} bytes, those of {MOST_ROWS} observations, got "
                f"{length[:20]}: send fewer at once",
            )
        return self.rfile.read(int(length))

    def _read_away(self) -> None:
        """Take what is still being sent, or the refusal would be dropped together with it."""
        left = _MOST_SKIPPED
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (block := self.rfile.read(min(left, 1 << 16))):
                left -= len(block)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(status, {"error": reason})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.connection.settimeout(_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

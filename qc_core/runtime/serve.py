"""A policy behind HTTP, by the Open Inference Protocol that Triton and KServe speak too.

GET  /v2/health/live, /v2/health/ready
GET  /v2/models/NAME          inputs, outputs and the policy's contract
GET  /v2/models/NAME/ready
POST /v2/models/NAME/infer    observation [B, O] and, if given, noise; action_chunk [B, H, A]

Tensors are JSON numbers. Noise that is not given is drawn here.
"""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from qc_core import __version__
from qc_core.errors import QCError, WrongUse
from qc_core.files import parse_json
from qc_core.runtime.policy import ChunkPolicy

MOST_BYTES = 16 << 20
MOST_ROWS = 1024
MOST_CONNECTIONS = 64
# A client that says nothing for so long is hung up on.
_IDLE_SECONDS = 30.0


class PolicyServer(ThreadingHTTPServer):
    """Serves one policy until `shutdown`.

    Args:
        address: host and port; port 0 takes a free one.
        name: of the model in the URLs.
    """

    daemon_threads = True
    # What waits beyond is turned away by the system.
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], policy: ChunkPolicy, name: str) -> None:
        self.policy, self.name = policy, name
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away whoever comes when all places are taken."""
        return self._places.acquire(blocking=False)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: PolicyServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version = f"q-chunking/{__version__}"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # Nobody reads it, and it is not the next request.
            self.close_connection = True
        model = f"/v2/models/{self.server.name}"
        ready = ("/v2/health/live", "/v2/health/ready", f"{model}/ready")
        if self.path in ready:
            self._answer(HTTPStatus.OK, {"ready": True})
        elif self.path == model:
            self._answer(HTTPStatus.OK, _metadata(self.server.name, self.server.policy))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"nothing is at {self.path[:200]}: try {model}")

    def do_POST(self) -> None:
        try:
            # Read also what is refused, so that the connection can go on.
            body = self._body()
            infer = f"/v2/models/{self.server.name}/infer"
            if self.path != infer:
                raise _Refused(
                    HTTPStatus.NOT_FOUND, f"nothing is at {self.path[:200]}: POST to {infer}"
                )
            self._answer(HTTPStatus.OK, _infer(self.server.name, self.server.policy, body))
        except _Refused as refused:
            self._refuse(refused.status, str(refused))
        except WrongUse as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except QCError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a request needs its Content-Length")
        if len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            self.close_connection = True
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a request has at most {MOST_BYTES} bytes, got {length[:20]}",
            )
        return self.rfile.read(int(length))

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(status, {"error": reason})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Twenty answers a second are no news; refusals are."""
        if not isinstance(code, HTTPStatus) or code >= HTTPStatus.BAD_REQUEST:
            super().log_request(code, size)


def _metadata(name: str, policy: ChunkPolicy) -> dict[str, Any]:
    horizon = policy.contract["horizon"]
    return {
        "name": name,
        "versions": ["1"],
        "platform": "onnx",
        "inputs": [
            {"name": "observation", "datatype": "FP32", "shape": [-1, policy.observation_size]},
            {"name": "noise", "datatype": "FP32", "shape": [-1, *policy.noise_shape]},
        ],
        "outputs": [
            {
                "name": "action_chunk",
                "datatype": "FP32",
                "shape": [-1, horizon, policy.action_size],
            }
        ],
        "parameters": {"contract": policy.contract},
    }


def _infer(name: str, policy: ChunkPolicy, body: bytes) -> dict[str, Any]:
    try:
        request = parse_json(body)
    except ValueError as error:
        raise WrongUse(f"the request is not JSON: {' '.join(str(error).split())[:200]}") from error
    tensors = _tensors(request)
    if "observation" not in tensors or not tensors.keys() <= {"observation", "noise"}:
        raise WrongUse(
            f"the inputs are observation and, if wanted, noise, got {sorted(tensors)[:5]}"
        )
    observation_BO = tensors["observation"]
    if observation_BO.ndim != 2 or not 0 < len(observation_BO) <= MOST_ROWS:
        raise WrongUse(
            f"observation must be [B, {policy.observation_size}] with B from 1 to {MOST_ROWS}, "
            f"got {list(observation_BO.shape)}"
        )
    chunk_BHA = policy.chunk(observation_BO, tensors.get("noise"))
    answer = {
        "model_name": name,
        "model_version": "1",
        "outputs": [
            {
                "name": "action_chunk",
                "datatype": "FP32",
                "shape": list(chunk_BHA.shape),
                "data": chunk_BHA.ravel().tolist(),
            }
        ],
    }
    if isinstance(request.get("id"), str):
        answer["id"] = request["id"]
    return answer


def _tensors(request: Any) -> dict[str, np.ndarray]:
    """The inputs by name, in their shapes (WrongUse: not as the protocol has them)."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list):
        raise WrongUse('the request needs "inputs", a list of tensors')
    tensors = {}
    for entry in inputs:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise WrongUse("an input needs name, datatype, shape and data")
        name, shape = entry["name"], entry.get("shape")
        if entry.get("datatype") != "FP32":
            raise WrongUse(f"{name[:50]} must have datatype FP32, got {entry.get('datatype')!r}")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise WrongUse(f"{name[:50]} needs its shape, a list of sizes")
        try:
            tensors[name] = np.asarray(entry.get("data"), np.float32).reshape(shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise WrongUse(f"{name[:50]} does not hold numbers of shape {shape[:9]}") from error
    return tensors

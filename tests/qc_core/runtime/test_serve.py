"""The HTTP server returns the chunks of the policy and refuses invalid requests in one line."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from qc_core import documents
from qc_core.registry.registry import Registry
from qc_core.runtime import ChunkPolicy
from qc_core.runtime.protocol import MAX_BATCH
from qc_core.runtime.serve import MAX_CONNECTIONS, PolicyServer, _Handler
from qc_core.store.open import open_store

INFER = "/v2/models/my%20lifter/infer"


@pytest.fixture(scope="module")
def server(policy: Path) -> Iterator[PolicyServer]:
    with PolicyServer(("127.0.0.1", 0), ChunkPolicy.load(policy), "my lifter") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _ask(
    server: PolicyServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    response = json.loads(answer.read())
    connection.close()
    return answer.status, response


def _tensor(name: str, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": "FP32",
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


def test_the_server_returns_the_chunks_of_the_policy(server: PolicyServer, policy: Path) -> None:
    golden = np.load(policy / "golden.npz")
    inputs = [_tensor("observation", golden["observation"]), _tensor("noise", golden["noise"])]
    status, response = _ask(server, "POST", INFER, {"id": "7", "inputs": inputs})
    assert (status, response["id"], response["model_name"]) == (200, "7", "my lifter")
    (output,) = response["outputs"]
    chunk = np.asarray(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(chunk, golden["action_chunk"], atol=1e-5)


def test_missing_noise_is_drawn_by_the_server(server: PolicyServer) -> None:
    observation = np.zeros((2, server.policy.observation_size), np.float32)
    status, response = _ask(
        server, "POST", INFER, {"inputs": [_tensor("observation", observation)]}
    )
    contract = server.policy.contract
    assert status == 200
    assert response["outputs"][0]["shape"] == [2, contract.chunk_length, server.policy.action_size]


def test_health_and_metadata_are_served(server: PolicyServer) -> None:
    model = "/v2/models/my%20lifter"
    for path in ("/v2/health/live", "/v2/health/ready", f"{model}/ready"):
        assert _ask(server, "GET", path)[0] == 200
    assert _ask(server, "GET", "/v2")[1].keys() == {"name", "version", "extensions"}
    status, response = _ask(server, "GET", model)
    assert status == 200
    (version,) = response["versions"]
    assert _ask(server, "GET", f"{model}/versions/{version}") == (200, response)
    assert _ask(server, "GET", f"{model}/versions/{version}/ready")[0] == 200
    assert _ask(server, "POST", f"{model}/versions/{version}/infer", _observation())[0] == 200
    assert response["inputs"][0]["shape"] == [-1, server.policy.observation_size]
    models = [{"name": "my lifter", "version": version, "state": "READY", "reason": ""}]
    assert _ask(server, "GET", "/v2/models") == (200, {"models": models})
    status, config = _ask(server, "GET", f"{model}/config")
    assert (status, config["max_batch_size"]) == (200, MAX_BATCH)
    assert config["input"][0]["dims"] == [server.policy.observation_size]
    assert response["parameters"]["contract"] == documents.to_json(server.policy.contract)


def _observation(**changes: Any) -> dict[str, Any]:
    return {"inputs": [_tensor("observation", np.zeros((1, 28), np.float32)) | changes]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{nonsense", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], '"inputs"'),
        ({"inputs": [7]}, "an input needs"),
        (_observation(name="image"), "the inputs must be observation"),
        (_observation(datatype="INT8"), "FP32"),
        (_observation(shape=[1, 27]), "shape"),
        (_observation(shape=[-1, 28]), "list of sizes"),
        (_observation(datatype="x" * 100_000), f"got '{'x' * 50}'"),
        (_observation(data=["a"] * 28), "numbers"),
        (_observation(data=["1"] * 28), "numbers"),
        (_observation(data=[[1.0] * 27 + [True]]), "numbers"),
        (_observation(data=[[1.0] * 27, 1.0]), "numbers"),
        (_observation(data=None), "numbers"),
        ({"inputs": _observation()["inputs"] * 2}, "observation is given twice"),
        (_observation(data=[float("nan")] * 28), "NaN"),
        (_observation(data=[10**400] * 28), "numbers"),
        (_observation(shape=[28]), "must be"),
        (_observation(shape=[0, 28], data=[]), "must be"),
        (_observation(shape=[65, 28], data=[0.0] * 65 * 28), "with B from 1 to 64"),
        (_observation(shape=[1, 1], data=[0.0]), "observations"),
    ],
)
def test_an_invalid_request_is_refused_in_one_line(
    server: PolicyServer, body: Any, says: str
) -> None:
    status, response = _ask(server, "POST", INFER, body)
    assert status == 400
    assert (
        says in response["error"] and "\n" not in response["error"] and len(response["error"]) < 300
    )
    assert _ask(server, "GET", "/v2/health/ready")[0] == 200


def test_unknown_paths_and_too_large_requests_are_refused(server: PolicyServer) -> None:
    assert _ask(server, "POST", "/v2/models/other/infer", {})[0] == 404
    assert _ask(server, "GET", "/etc/passwd")[0] == 404
    for length in (str(server.max_bytes + 1), "9" * 5000):
        headers = {"Content-Length": length}
        assert _ask(server, "POST", INFER, b"", **headers)[0] == 413
    status, response = _ask(server, "POST", INFER, b" " * (8 << 20))
    assert (
        status == 413
        and "8388608 bytes (limit 174080, enough for 64 observations); send fewer"
        in response["error"]
    )
    chunked = {"Transfer-Encoding": "chunked"}
    assert _ask(server, "POST", INFER, b"0\r\n\r\n", **chunked)[0] == 411


def test_the_largest_batch_fits_the_size_limit(server: PolicyServer) -> None:
    shapes = {"observation": (server.policy.observation_size,), "noise": server.policy.noise_shape}
    inputs = [
        _tensor(name, np.full((MAX_BATCH, *shape), -1.1754943508222875e-38))
        for name, shape in shapes.items()
    ]
    body = json.dumps({"inputs": inputs}, indent=2).encode()
    assert _ask(server, "POST", INFER, body)[0] == 200


def test_other_methods_and_invalid_http_are_refused_in_json(server: PolicyServer) -> None:
    status, response = _ask(server, "PUT", INFER, {})
    assert (status, response) == (501, {"error": "Unsupported method ('PUT')"})
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for path, status in (("/v2/health/live", 200), ("/v2/none", 404)):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
        assert answer.headers["Content-Type"] == "application/json"
    connection.close()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as nonsense:
        nonsense.sendall(b"some nonsense of words\r\n\r\n")
        assert b'{"error": "Bad request' in nonsense.recv(4096)


def test_slow_clients_do_not_block_others_and_are_disconnected(
    server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qc_core.runtime.serve._REQUEST_TIMEOUT_SECONDS", 2.0)
    head = f"POST {INFER} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(4):
            connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
            slow.append(stack.enter_context(connection))
            connection.sendall(head)
        assert _ask(server, "POST", INFER, _observation())[0] == 200
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + 10:
                slow[0].sendall(b" ")
                time.sleep(0.05)
        assert [connection.recv(1) for connection in slow[1:]] == [b""] * 3


def test_few_requests_are_parsed_at_once(
    server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk, inside, most = server.policy.chunk, threading.Semaphore(2), []

    def counted(*inputs: Any) -> np.ndarray:
        most.append(inside.acquire(blocking=False))
        time.sleep(0.02)
        inside.release()
        return chunk(*inputs)

    monkeypatch.setattr(server.policy, "chunk", counted)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(_ask, server, "POST", INFER, _observation()) for _ in range(16)]
    assert {future.result()[0] for future in asked} == {200}
    assert most == [True] * 16


def test_a_disconnect_is_silent_and_other_errors_are_one_line(
    server: PolicyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (ConnectionResetError("gone"), BrokenPipeError(), ValueError("a\nb")):
        try:
            raise error
        except Exception:
            server.handle_error(None, ("10.0.0.7", 1234))
    assert capsys.readouterr().err == "10.0.0.7: ValueError: a b\n"


def test_a_connection_is_released_if_no_thread_starts(
    server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        for _ in range(MAX_CONNECTIONS + 1):
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as failed:
                assert failed.recv(1) == b""
    assert _ask(server, "GET", "/v2/health/live")[0] == 200


def test_the_body_of_a_get_is_not_parsed_as_a_request(server: PolicyServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        second = b"GET /v2/models/evil HTTP/1.1\r\nHost: x\r\n\r\n"
        first = f"GET /v2/health/live HTTP/1.1\r\nContent-Length: {len(second)}\r\n\r\n"
        connection.sendall(first.encode() + second)
        answers = b""
        while part := connection.recv(4096):
            answers += part
    assert answers.count(b"HTTP/1.1 ") == 1 and b"200" in answers


def test_one_client_with_many_slow_connections_does_not_lock_others_out(
    server: PolicyServer,
) -> None:
    address = ("127.0.0.1", server.server_port)
    other = http.client.HTTPConnection(
        "127.0.0.1", server.server_port, timeout=10, source_address=("127.0.0.2", 0)
    )
    replaced = server.connections.replaced
    with contextlib.ExitStack() as taken, contextlib.closing(other):
        other.request("GET", "/v2/health/live")
        assert other.getresponse().read() == b'{"ready": true}'
        slow = []
        for _ in range(MAX_CONNECTIONS + 8):
            slow.append(taken.enter_context(socket.create_connection(address, timeout=10)))
            slow[-1].sendall(f"POST {INFER} HTTP/1.1\r\nContent-Length: 9\r\n".encode())
        # The oldest ones were replaced.
        assert [connection.recv(1) for connection in slow[:9]] == [b""] * 9
        # A new client is served, and a robot that was connected before is still connected.
        assert _ask(server, "POST", INFER, _observation())[0] == 200
        other.request("GET", "/v2/health/live")
        assert other.getresponse().status == 200
    assert server.connections.replaced >= replaced + 9


def test_a_response_is_sent_at_once(server: PolicyServer) -> None:
    """Otherwise a client that reuses its connection waits 40 ms for its own acknowledgement."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
            assert connection.recv(4096).endswith(b'\r\n\r\n{"ready": true}')
    assert _Handler.disable_nagle_algorithm


def test_tritons_client_works_with_its_defaults(server: PolicyServer, policy: Path) -> None:
    from tritonclient import http as triton

    golden = np.load(policy / "golden.npz")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.server_port}")
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("my lifter")
    assert client.get_model_repository_index()[0]["name"] == "my lifter"
    assert client.get_model_config("my lifter")["max_batch_size"] == MAX_BATCH
    inputs = []
    for entry in client.get_model_metadata("my lifter")["inputs"]:
        values = golden[entry["name"]]
        inputs.append(triton.InferInput(entry["name"], values.shape, entry["datatype"]))
        inputs[-1].set_data_from_numpy(values)
    for outputs in (None, [triton.InferRequestedOutput("action_chunk")]):
        result = client.infer("my lifter", inputs, outputs=outputs, request_id="7")
        chunk = np.asarray(result.as_numpy("action_chunk"))
        np.testing.assert_allclose(chunk, golden["action_chunk"], atol=1e-5)
        assert result.get_response()["id"] == "7"
        assert "binary_data_size" in result.get_response()["outputs"][0]["parameters"]
    output = triton.InferRequestedOutput("action_chunk", binary_data=False)
    result = client.infer("my lifter", inputs, outputs=[output])
    chunk = np.asarray(result.as_numpy("action_chunk"))
    np.testing.assert_allclose(chunk, golden["action_chunk"], atol=1e-5)
    client.close()


def _binary(size: Any, content: bytes, **changes: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "observation", "datatype": "FP32", "shape": [1, 28]} | changes
    header = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}).encode()
    return header + content, {"Inference-Header-Content-Length": str(len(header))}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_binary(112, bytes(111)), "does not hold numbers"),
        (_binary(112, bytes(113)), "1 bytes after the JSON belong to no input"),
        (_binary(108, bytes(108)), "does not hold numbers"),
        (_binary(-4, b""), "does not hold numbers"),
        (_binary("112", bytes(112)), "does not hold numbers"),
        (_binary(112, bytes(112), data=[0.0] * 28), "does not hold numbers"),
        (_binary(112, b"\xff" * 112), "NaN"),
        ((b"{}", {"Inference-Header-Content-Length": "3"}), "size of the JSON, at most 2"),
        ((b"{}", {"Inference-Header-Content-Length": "x" * 99}), "must be the size of the JSON"),
    ],
)
def test_an_invalid_binary_request_is_refused_in_one_line(
    server: PolicyServer, content: tuple[bytes, dict[str, str]], says: str
) -> None:
    status, response = _ask(server, "POST", INFER, content[0], **content[1])
    assert status == 400 and says in response["error"] and len(response["error"]) < 300


def test_metrics_count_responses_observations_and_times(server: PolicyServer) -> None:
    def metrics() -> dict[str, float]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        lines = answer.read().decode().splitlines()
        connection.close()
        assert answer.headers["Content-Type"].startswith("text/plain")
        samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {name: float(value) for name, _, value in samples}

    labels = 'model="my lifter",version="1"'
    before = metrics()
    observation = np.zeros((3, 28), np.float32)
    _ask(server, "POST", INFER, {"inputs": [_tensor("observation", observation)]})
    _ask(server, "GET", "/none")
    after = metrics()
    assert after[f"qc_policy_info{{{labels}}}"] == 1

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown(f"qc_observations_total{{{labels}}}") == 3
    assert grown(f"qc_inference_seconds_count{{{labels}}}") == 1
    assert grown(f'qc_inference_seconds_bucket{{{labels},le="+Inf"}}') == 1
    assert grown(f'qc_responses_total{{{labels},status="404"}}') == 1


def test_a_token_is_needed_except_for_health(
    server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "token", "secret-token")
    assert _ask(server, "GET", "/v2/health/ready")[0] == 200
    for wrong in ("", "Bearer wrong", "secret-token", "Bearer secret-token2"):
        for method, path in (("POST", INFER), ("GET", "/v2/models"), ("GET", "/metrics")):
            status, response = _ask(server, method, path, _observation(), Authorization=wrong)
            assert status == 401 and "secret-token" not in str(response)
    right = {"Authorization": "Bearer secret-token"}
    assert _ask(server, "POST", INFER, _observation(), **right)[0] == 200
    assert _ask(server, "GET", "/v2/models", **right)[0] == 200


def test_a_line_of_the_log_is_short_and_harmless(
    server: PolicyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (b"GET /" + b"x" * 60_000 + b" HTTP/1.1", b"\x1b[2J" + b"y" * 60_000):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
            client.sendall(line + b"\r\n\r\n")
            assert b"error" in client.recv(4096)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and all(len(line) < 300 and line.isprintable() for line in lines)


@pytest.mark.parametrize("stored", [False, True])
def test_the_command_serves_until_it_is_stopped(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    if stored:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        version = Registry(open_store()).publish(policy, "lifter")
        name = f"lifter:{version}"
    else:
        version, name = "1", str(shutil.copytree(policy, tmp_path / "a policy"))
    command = [sys.executable, "-m", "qc_core.cli.main", "serve", name, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = urlsplit(process.stderr.readline().split()[-1])
        connection = http.client.HTTPConnection(url.netloc, timeout=10)
        connection.request("GET", f"{url.path}/ready")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        connection.request("GET", "/v2/models")
        (model,) = json.loads(connection.getresponse().read())["models"]
        assert model["version"] == version
        connection.close()
    finally:
        # An impatient user stops it twice.
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        process.stderr.close()


def test_a_port_in_use_is_one_line(server: PolicyServer, policy: Path) -> None:
    words = ["serve", str(policy), "--port", str(server.server_port)]
    done = subprocess.run(
        [sys.executable, "-m", "qc_core.cli.main", *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("qc: cannot listen on 127.0.0.1:")

"""A policy behind HTTP answers what the policy answers, and refuses in one line."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.runtime import ChunkPolicy
from qc_core.runtime.serve import MOST_BYTES, MOST_CONNECTIONS, PolicyServer


@pytest.fixture(scope="module")
def server(policy: Path) -> Iterator[PolicyServer]:
    with PolicyServer(("127.0.0.1", 0), ChunkPolicy.load(policy), "lifter") as server:
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
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


def _tensor(name: str, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": "FP32",
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


def test_it_answers_what_the_policy_answers(server: PolicyServer, policy: Path) -> None:
    golden = np.load(policy / "golden.npz")
    inputs = [_tensor("observation", golden["observation"]), _tensor("noise", golden["noise"])]
    status, told = _ask(server, "POST", "/v2/models/lifter/infer", {"id": "7", "inputs": inputs})
    assert (status, told["id"], told["model_name"]) == (200, "7", "lifter")
    (output,) = told["outputs"]
    chunk = np.asarray(output["data"], np.float32).reshape(output["shape"])
    np.testing.assert_allclose(chunk, golden["action_chunk"], atol=1e-5)


def test_noise_is_drawn_where_none_is_given(server: PolicyServer) -> None:
    observation = np.zeros((2, server.policy.observation_size), np.float32)
    status, told = _ask(
        server, "POST", "/v2/models/lifter/infer", {"inputs": [_tensor("observation", observation)]}
    )
    contract = server.policy.contract
    assert status == 200
    assert told["outputs"][0]["shape"] == [2, contract["horizon"], server.policy.action_size]


def test_it_says_that_it_is_ready_and_what_it_takes(server: PolicyServer) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/lifter/ready"):
        assert _ask(server, "GET", path)[0] == 200
    status, told = _ask(server, "GET", "/v2/models/lifter")
    assert status == 200
    assert told["inputs"][0]["shape"] == [-1, server.policy.observation_size]
    assert told["parameters"]["contract"] == server.policy.contract


def _observation(**changes: Any) -> dict[str, Any]:
    return {"inputs": [_tensor("observation", np.zeros((1, 28), np.float32)) | changes]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{nonsense", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], '"inputs"'),
        ({"inputs": [7]}, "an input needs"),
        (_observation(name="image"), "the inputs are observation"),
        (_observation(datatype="INT8"), "FP32"),
        (_observation(shape=[1, 27]), "shape"),
        (_observation(shape=[-1, 28]), "list of sizes"),
        (_observation(data=["a"] * 28), "numbers"),
        (_observation(data=[float("nan")] * 28), "NaN"),
        (_observation(data=[10**400] * 28), "numbers"),
        (_observation(shape=[28]), "must be"),
        (_observation(shape=[0, 28], data=[]), "must be"),
        (_observation(shape=[1, 1], data=[0.0]), "observations"),
    ],
)
def test_what_it_cannot_use_is_refused_in_one_line(
    server: PolicyServer, body: Any, says: str
) -> None:
    status, told = _ask(server, "POST", "/v2/models/lifter/infer", body)
    assert status == 400
    assert says in told["error"] and "\n" not in told["error"]
    assert _ask(server, "GET", "/v2/health/ready")[0] == 200


def test_other_places_and_sizes_are_refused(server: PolicyServer) -> None:
    assert _ask(server, "POST", "/v2/models/other/infer", {})[0] == 404
    assert _ask(server, "GET", "/etc/passwd")[0] == 404
    for length in (str(MOST_BYTES + 1), "9" * 5000):
        headers = {"Content-Length": length}
        assert _ask(server, "POST", "/v2/models/lifter/infer", b"", **headers)[0] == 413
    chunked = {"Transfer-Encoding": "chunked"}
    assert _ask(server, "POST", "/v2/models/lifter/infer", b"0\r\n\r\n", **chunked)[0] == 411


def test_the_body_of_a_get_is_no_second_request(server: PolicyServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        second = b"GET /v2/models/evil HTTP/1.1\r\nHost: x\r\n\r\n"
        first = f"GET /v2/health/live HTTP/1.1\r\nContent-Length: {len(second)}\r\n\r\n"
        connection.sendall(first.encode() + second)
        answers = b""
        while part := connection.recv(4096):
            answers += part
    assert answers.count(b"HTTP/1.1 ") == 1 and b"200" in answers


def test_who_comes_when_all_places_are_taken_is_turned_away(server: PolicyServer) -> None:
    address = ("127.0.0.1", server.server_port)
    with contextlib.ExitStack() as taken:
        for _ in range(MOST_CONNECTIONS):
            idle = taken.enter_context(socket.create_connection(address, timeout=10))
            idle.sendall(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(address, timeout=10) as late:
            assert late.recv(1) == b""
    # Those that left have made room.
    for _ in range(100):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _ask(server, "GET", "/v2/health/live")[0] == 200:
                return
        time.sleep(0.05)
    pytest.fail("no place became free")


def test_the_command_serves_until_it_is_told_to_stop(policy: Path) -> None:
    command = [sys.executable, "-m", "qc_core.cli.main", "serve", str(policy), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        port = int(line.split(":")[-1].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/v2/models/{policy.name}/ready")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stderr.close()


def test_a_port_in_use_is_one_line(server: PolicyServer, policy: Path) -> None:
    words = ["serve", str(policy), "--port", str(server.server_port)]
    done = subprocess.run(
        [sys.executable, "-m", "qc_core.cli.main", *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("qc: cannot listen on 127.0.0.1:")

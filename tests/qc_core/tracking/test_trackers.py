"""Trackers get parameters, curves and results; a slow one delays and ends nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qc_core.tracking.metrics import Point
from qc_core.tracking.mlflow_run import MLflowRun
from qc_core.tracking.send import serve
from qc_core.tracking.sender import Sender
from qc_core.tracking.wandb_run import WandbRun

# The handlers and the database of `mlflow server`, without its background jobs.
SERVER = """
import sys
from mlflow.server import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""
START = {
    "tracker": "mlflow",
    "run": "run-1",
    "title": "first",
    "name": "offline",
    "options": {"seed": 1, "train.method": "qc"},
    "parameters": {},
    "folder": None,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with a database of its own; its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    environment = {
        **os.environ,
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server, which `MLFLOW_TRACKING_URI` names."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return MlflowClient(server)


def track(make: Any, start: dict[str, Any], *messages: dict[str, Any]) -> None:
    """Serve messages in this process, as the sending process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for message in ({"kind": "start", **start}, *messages):
            ours.send(json.dumps(message).encode())
        ours.shutdown(socket.SHUT_WR)
        serve(theirs, make)
        theirs.close()
        assert ours.recv(1000) == b""


def point(step: int, loss: float) -> dict[str, Any]:
    return {"kind": "point", **Point(step, 1.7e9 + step, {"critic/loss": loss})._asdict()}


END = {"kind": "end", "state": "finished"}


def test_a_run_has_options_result_and_nested_trainings(client: Any, tmp_path: Path) -> None:
    # In a process of its own, as in a training; the others are served here.
    sender = Sender("mlflow", START, patience=600)
    sender.log(Point(1, 1.7e9, {"critic/loss": 3.0}))
    sender.log(Point(2, 1.7e9, {"critic/loss": 2.0}))
    sender.close("finished")
    trial = {**START, "name": "trial-0", "parameters": {"alpha": 3.0}}
    track(MLflowRun, trial, point(5, 1.0), {"kind": "end", "state": "stopped"})
    page = tmp_path / "page"
    page.write_text("<html></html>")
    result = {"metrics": {"success_online": 0.9}, "tags": {"policy": "p:1"}, "time": 1.7e9}
    track(
        MLflowRun,
        {**START, "name": None},
        {"kind": "result", **result, "artifacts": {"report.html": str(page)}},
        END,
    )

    experiment = client.get_experiment_by_name("q-chunking").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert runs.keys() == {"first", "offline", "trial-0"}
    root = runs["first"]
    assert root.info.status == "FINISHED" and root.data.params == {
        "seed": "1",
        "train.method": "qc",
    }
    assert root.data.metrics == {"success_online": 0.9} and root.data.tags["policy"] == "p:1"
    assert [file.path for file in client.list_artifacts(root.info.run_id)] == ["report.html"]
    for name in ("offline", "trial-0"):
        assert runs[name].data.tags["mlflow.parentRunId"] == root.info.run_id
    assert runs["trial-0"].data.params == {"alpha": "3.0"}
    assert runs["trial-0"].info.status == "KILLED"
    history = client.get_metric_history(runs["offline"].info.run_id, "critic/loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 3.0), (2, 2.0)]


def test_on_the_cluster_curves_go_to_the_task_and_options_to_the_outermost_run(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = client.create_experiment("pipelines")

    def nested(name: str, parent: str | None) -> str:
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return client.create_run(experiment, run_name=name, tags=tags).info.run_id

    root = nested("pipeline run", None)
    pretrain, tune = (nested(name, nested("exit-handler-1", root)) for name in ("pretrain", "tune"))
    monkeypatch.setenv("MLFLOW_RUN_ID", pretrain)
    track(MLflowRun, START, point(1, 3.0), END)
    monkeypatch.setenv("MLFLOW_RUN_ID", tune)
    track(MLflowRun, {**START, "name": "trial-0", "parameters": {"alpha": 3.0}}, point(5, 1.0), END)
    result = {"metrics": {"success_online": 0.9}, "tags": {}, "time": 1.7e9, "artifacts": {}}
    track(MLflowRun, {**START, "name": None}, {"kind": "result", **result}, END)

    outermost = client.get_run(root)
    assert outermost.data.params["train.method"] == "qc"
    assert outermost.data.metrics == {"success_online": 0.9}
    assert client.get_run(pretrain).data.metrics == {"critic/loss": 3.0}
    assert client.get_run(tune).data.metrics == {"trial-0/critic/loss": 1.0}
    # KFP ends the runs that it has created.
    assert {client.get_run(run).info.status for run in (root, pretrain, tune)} == {"RUNNING"}
    (trial,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{tune}'")
    assert (trial.info.run_name, trial.info.status) == ("trial-0", "FINISHED")
    assert trial.data.metrics == {"critic/loss": 1.0} and trial.data.params == {"alpha": "3.0"}


def test_a_tracker_that_does_not_read_blocks_nothing() -> None:
    sender = Sender("mlflow", START, patience=0.01)
    os.kill(sender._process.pid, signal.SIGSTOP)
    try:
        for step in range(5000):
            sender.log(Point(step, 0.0, {"critic/loss": 1.0}))
        sender.close("finished")
    finally:
        sender._process.kill()
        sender._process.wait()


def test_a_tracker_that_fails_is_reported_once_and_tried_again() -> None:
    attempts: list[int] = []

    class Down:
        def __init__(self, start: dict[str, Any]) -> None:
            attempts.append(1)
            # As MLflow's client does if its address is invalid.
            if len(attempts) == 1:
                raise ConnectionError("refused")

        def begin(self) -> None:
            if len(attempts) < 3:
                raise ConnectionError("refused")

        def log(self, points: list[Point]) -> None:
            assert [p.step for p in points] == [1, 2]

        def end(self, state: str) -> None: ...

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for message in ({"kind": "start", **START}, point(1, 1.0), point(2, 1.0), END):
            ours.send(json.dumps(message).encode())
        ours.shutdown(socket.SHUT_WR)
        serve(theirs, Down)  # pyright: ignore[reportArgumentType]
        assert ours.recv(1000) == b"mlflow gets no metrics: ConnectionError: refused"
    assert len(attempts) == 3


def test_weights_and_biases_gets_a_run_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    start = {**START, "tracker": "wandb", "folder": str(tmp_path)}
    track(WandbRun, start, point(1, 3.0), END)
    (written,) = (tmp_path / "wandb").glob("offline-run-*-run-1-offline/*.wandb")
    assert b"critic/loss" in written.read_bytes()

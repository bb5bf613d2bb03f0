"""The last step of a run finds out which step failed and why, from Argo's nodes and KFP's API."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.outcome import run_facts
from components.outcome.run_facts import find_failure, read_run_facts
from qc_core.notify.run_status import RunFacts

TRAINING = "run-x.root.exit-handler-1.condition-2"
WORKER = f"{TRAINING}.for-loop-3.iteration-item.iteration-item(0:0.9)"


def pod(name: str, phase: str, message: str = "", finished: str = "1") -> dict[str, Any]:
    """One pod, as `status.nodes` of Argo 4.0.5 has it."""
    return {
        "type": "Pod",
        "name": name,
        "phase": phase,
        "message": message,
        "finishedAt": f"2026-11-30T10:00:0{finished}Z",
    }


def repeated(name: str, *attempts: tuple[str, str]) -> dict[str, Any]:
    """A step that Argo repeats: a node for all attempts, and one for each."""
    pods = {f"{name}({i})": pod(f"{name}({i})", *a) for i, a in enumerate(attempts)}
    whole = {"type": "Retry", "name": name, "phase": attempts[-1][0], "children": list(pods)}
    return {name: whole, **pods}


@pytest.mark.parametrize(
    ("nodes", "step", "error"),
    [
        ({}, "", ""),
        ({"a": pod(f"{TRAINING}.pretrain.executor", "Succeeded")}, "", ""),
        (
            repeated(f"{WORKER}.tune.executor", ("Failed", "main: Error (exit code 1)")),
            "tune",
            "",
        ),
        (
            repeated(
                f"{WORKER}.tune.executor",
                ("Failed", "main: Error (exit code 1)"),
                ("Failed", "main: OOMKilled (exit code 137)"),
            ),
            "tune",
            "it used more memory than its limit (main: OOMKilled (exit code 137)); raise the input "
            "resources_memory",
        ),
        (
            repeated(
                f"{TRAINING}.evaluate.executor", ("Failed", "main: OOMKilled (exit code 137)")
            ),
            "evaluate",
            "it used more memory than its limit (main: OOMKilled (exit code 137)); lower "
            "--evaluate.workers in the input overrides",
        ),
        (
            repeated(f"{TRAINING}.export.executor", ("Failed", "main: OOMKilled (exit code 137)")),
            "export",
            "it used more memory than its limit (main: OOMKilled (exit code 137))",
        ),
        (
            repeated(f"{TRAINING}.pretrain.executor", ("Error", "pod deleted")),
            "pretrain",
            "its pod was lost, perhaps with its node (pod deleted)",
        ),
        (
            repeated(f"{TRAINING}.export.executor", ("Failed", "main: Error (exit code 143)")),
            "export",
            "it was killed (main: Error (exit code 143))",
        ),
        (
            repeated(f"{TRAINING}.export-driver", ("Failed", "main: Error (exit code 1)")),
            "export",
            "KFP could not start it, its driver ended with: main: Error (exit code 1)",
        ),
        (
            {"a": pod("run-x.root.exit-handler-1.condition-2-driver", "Error", "pod deleted")},
            "condition-2",
            "KFP could not start it, its driver ended with: pod deleted",
        ),
        (
            {"a": pod(f"{TRAINING}.pretrain.executor", "Failed", "exceeded its deadline")},
            "pretrain",
            "exceeded its deadline",
        ),
    ],
)
def test_failed_step_and_reason_are_found(nodes: dict[str, Any], step: str, error: str) -> None:
    assert find_failure(nodes) == (step, error)


def test_attempt_that_was_repeated_with_success_is_not_a_failure() -> None:
    nodes = repeated(f"{TRAINING}.pretrain.executor", ("Error", "pod deleted"), ("Succeeded", ""))
    assert find_failure(nodes) == ("", "")


def test_first_failure_is_the_cause_and_the_last_step_never_is() -> None:
    nodes = {
        "late": pod(f"{TRAINING}.select.executor", "Failed", "main: Error (exit code 1)", "7"),
        "early": pod(f"{WORKER}.tune.executor", "Failed", "pod deleted", "3"),
        "exit": pod("run-x.root.outcome.executor", "Failed", "pod deleted", "1"),
    }
    assert find_failure(nodes)[0] == "tune"


def test_after_a_retry_the_old_last_step_hides_neither_success_nor_a_new_failure() -> None:
    """Argo's Retry removes the failed nodes, and keeps the exit step of the first time."""
    old = pod("run-x.root.outcome.executor", "Succeeded", finished="2")
    done = repeated(f"{TRAINING}.report.executor", ("Succeeded", ""))
    assert find_failure({"exit": old, **done}) == ("", "")
    failed = repeated(f"{TRAINING}.export.executor", ("Failed", "main: OOMKilled (exit code 137)"))
    step, error = find_failure({"exit": old, **failed})
    assert step == "export" and "more memory than its limit" in error
    also = pod("run-x.root.outcome.executor", "Failed", "main: Error (exit code 1)", "1")
    assert find_failure({"exit": also, **done}) == ("", "")


@pytest.fixture
def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server for KFP and Kubernetes: answers by the start of a path."""
    known: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = next((c for start, c in known.items() if self.path.startswith(start)), None)
            body = json.dumps(found).encode()
            self.send_response(403 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", known
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def in_pod(
    answers: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """This process has a pod's account; returns the answers of KFP and Kubernetes."""
    url, known = answers
    for name, text in (("namespace", "kubeflow"), ("token", "token"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(run_facts, "ACCOUNT", tmp_path)
    monkeypatch.setattr(run_facts, "KFP", url)
    monkeypatch.setattr(run_facts, "KUBERNETES", url)
    return known


def test_name_schedule_and_failure_of_a_scheduled_run_are_read(in_pod: dict[str, Any]) -> None:
    nodes = repeated(f"{TRAINING}.pretrain.executor", ("Error", "pod deleted"))
    compressed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    in_pod["/apis/v2beta1/runs/r-1"] = {"display_name": "smoke 1", "recurring_run_id": "s-1"}
    in_pod["/apis/v2beta1/recurringruns/s-1"] = {"display_name": "weekly"}
    workflows = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows?labelSelector=pipeline"
    for status in ({"nodes": nodes}, {"compressedNodes": compressed}):
        in_pod[workflows] = {"items": [{"status": status}]}
        facts = read_run_facts("r-1")
        assert (facts.name, facts.schedule, facts.step) == ("smoke 1", "weekly", "pretrain")
        assert "pod was lost" in facts.error and not facts.cancelled


def test_run_that_a_person_ended_is_cancelled(in_pod: dict[str, Any]) -> None:
    history = [{"state": "RUNNING"}, {"state": "CANCELING"}]
    in_pod["/apis/v2beta1/runs/r-1"] = {"state": "RUNNING", "state_history": history}
    assert read_run_facts("r-1").cancelled


def test_run_under_another_service_account_gets_a_warning(in_pod: dict[str, Any]) -> None:
    for account, warned in (("q-chunking-runner", False), ("", False), ("pipeline-runner", True)):
        in_pod["/apis/v2beta1/runs/r-1"] = {"service_account": account}
        assert ("service account pipeline-runner" in read_run_facts("r-1").warning) == warned


def test_without_rights_and_outside_a_cluster_nothing_is_known(
    in_pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_run_facts("r-1") == RunFacts()
    assert "does not answer (403)" in capsys.readouterr().err
    monkeypatch.setattr(run_facts, "ACCOUNT", Path("/nonexistent"))
    assert read_run_facts("r-1") == RunFacts()

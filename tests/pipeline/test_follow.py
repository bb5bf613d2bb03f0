"""`qc submit --wait` shows what happens to the run, and ends as the run does."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import follow
from pipeline.placement import STEPS
from pipeline.server import connect
from qc_core.cli.main import main
from qc_core.errors import RunError
from qc_core.notify.run_status import RunFacts, notify_run_status
from qc_core.store.open import open_store
from tests.pipeline.kfp_server import KFP, answer, drop

SUBMIT = ["submit", "smoke", "--seed", "3"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL", 0.001)


def only(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (entry,) = entries.values()
    return entry


def tasks(**states: str) -> dict[str, Any]:
    """The tasks of a run, as the server returns them."""
    details = [
        {"task_id": name, "display_name": name.replace("_", "-"), "state": state}
        for name, state in states.items()
    ]
    return {"run_details": {"task_details": details}}


def test_wait_reports_each_change_of_a_step_once(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.script = [
        {"state": "RUNNING", **tasks(root="RUNNING", ingest="RUNNING", ingest_driver="SUCCEEDED")},
        tasks(root="RUNNING", ingest="RUNNING"),
        tasks(root="RUNNING", ingest="SUCCEEDED", pretrain="RUNNING"),
        {"state": "SUCCEEDED", **tasks(ingest="SUCCEEDED", pretrain="SUCCEEDED")},
    ]
    # KFP may show a task by its title.
    kfp.script[3]["run_details"]["task_details"][1]["display_name"] = STEPS["pretrain"].title
    assert main([*SUBMIT, "--wait"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "ingest: running",
        "ingest: succeeded",
        "pretrain: running",
        "pretrain: succeeded",
        "the run succeeded",
    ]


def test_failed_run_fails_the_command_and_names_the_step(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = tasks(root="FAILED", ingest="SUCCEEDED", tune="FAILED", executor="FAILED")
    failed["run_details"]["task_details"][3]["state_history"] = [
        {"state": "RUNNING"},
        {"state": "FAILED", "error": {"code": 13, "message": "Error\n(exit code 1)"}},
    ]
    kfp.script = [{"state": "FAILED", **failed}]
    assert main([*SUBMIT, "--wait", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["run"] == only(kfp.runs)["run_id"]
    assert printed.err.splitlines()[-1] == "qc: the run failed: step tune: Error (exit code 1)"


def test_canceled_run_fails_the_command(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.script = [{"state": "CANCELED", "error": {"code": 1, "message": "terminated by anna"}}]
    assert main([*SUBMIT, "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "qc: the run was cancelled"


def test_run_that_a_person_ended_is_cancelled_and_not_failed(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    history = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}]
    kfp.script = [{"state": "FAILED", "state_history": history}]
    assert main([*SUBMIT, "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "qc: the run was cancelled"


def test_time_of_a_finished_step_is_shown(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    done = tasks(ingest="SUCCEEDED")
    times = {"start_time": "2026-11-30T10:00:00+00:00", "end_time": "2026-11-30T10:02:05+00:00"}
    done["run_details"]["task_details"][0] |= times
    kfp.script = [{"state": "SUCCEEDED", **done}]
    assert main([*SUBMIT, "--wait"]) == 0
    assert capsys.readouterr().err.splitlines()[0] == "ingest: succeeded after 2 min 5 s"


def test_last_line_is_the_one_that_the_run_wrote_to_the_store(
    kfp: KFP, s3_store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    follow_run = follow.follow

    def end(connect: Any, run_id: str, *more: Any) -> Any:
        facts = RunFacts(name="mine", step="tune", error="it used more memory than its limit")
        notify_run_status(store, run_id=run_id, recipe="smoke", facts=facts)
        return follow_run(connect, run_id, *more)

    monkeypatch.setattr(follow, "follow", end)
    kfp.script = [{"state": "FAILED"}]
    assert main([*SUBMIT, "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "qc: mine (smoke) FAILED: step tune: it used more memory than its limit"
    )


def test_logs_of_running_steps_are_shown_with_their_step(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workflow = {"items": [{"kind": "Workflow", "metadata": {"name": "run-x"}}]}
    labels = {"q-chunking/step": "ingest"}
    pods = [
        {"metadata": {"name": "a", "labels": labels}, "status": {"phase": "Running"}},
        {"metadata": {"name": "b", "labels": labels}, "status": {"phase": "Pending"}},
    ]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        "#!/bin/sh\n"
        f"case \"$*\" in *workflows*runid=*) echo '{json.dumps(workflow)}';;\n"
        f"*pods*workflow=run-x,q-chunking/step*) echo '{json.dumps({'items': pods})}';;\n"
        "*logs*--follow*pod/a*) echo 'reading a file'; echo done;; *) exit 1;; esac\n"
    )
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kfp.script = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    assert main([*SUBMIT, "--wait", "--logs"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["ingest | reading a file", "ingest | done", "the run succeeded"]
    assert main([*SUBMIT, "--logs"]) == 2


def test_wait_survives_lost_connections_and_reports_them_once(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.002)
    kfp.fail("GET", "/runs/", drop, times=2)
    kfp.fail("GET", "/runs/", answer(503, "<html>no healthy upstream</html>", "text/html"))
    kfp.script = [{"state": "SUCCEEDED"}]
    assert main([*SUBMIT, "--wait"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "the run continues, trying again" in lines[0]


def test_wait_ends_if_the_server_stays_away(kfp: KFP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PATIENCE", 0.02)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.01)
    kfp.fail("GET", "/runs/", drop, times=1000)
    with pytest.raises(RunError, match="the run continues"):
        follow.follow(connect, "0" * 36, {}, lambda _: None)


def test_interrupt_ends_the_wait_and_not_the_run(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    clock = SimpleNamespace(sleep=interrupt, monotonic=follow.time.monotonic)
    monkeypatch.setattr(follow, "time", clock)
    assert main([*SUBMIT, "--wait"]) == 130
    assert "stopped following; the run continues" in capsys.readouterr().err
    assert only(kfp.runs)["state"] == "PENDING"

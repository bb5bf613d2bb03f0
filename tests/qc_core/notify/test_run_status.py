"""The status of a run is in the store whatever the webhook does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import read, to_json
from qc_core.errors import QCError, RunError, UsageError
from qc_core.notify.completion import Completion
from qc_core.notify.run_status import (
    RunFacts,
    RunStatus,
    notify_run_status,
    record_completion,
    record_new_data,
    write_new_data,
)
from qc_core.notify.step import run_step
from qc_core.retraining.new_data import NewData
from qc_core.store.local_store import FolderStore
from qc_core.store.open import open_store
from tests.qc_core.retraining.versions import publish

RUN = "0b5e-11"


class Webhook:
    """A chat server that receives posts and answers with the next status of a list."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                outer.posts.append(json.loads(self.rfile.read(size)))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/a-secret-path"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    server = Webhook()
    monkeypatch.setenv("QC_WEBHOOK_URL", server.url)
    yield server
    server.stop()


def completed(verdict: str) -> Completion:
    return Completion(verdict=verdict, metrics={})


def _notify(folder: Path, facts: RunFacts | None = None, completion: str = "") -> RunStatus:
    """End a run; return its status as the store has it."""
    store = FolderStore(folder)
    if completion:
        record_completion(store, RUN, completed(completion))
    facts = facts or RunFacts(name="Monday")
    status = notify_run_status(store, run_id=RUN, recipe="smoke", facts=facts)
    assert _stored(folder) == status
    return status


def _stored(folder: Path) -> RunStatus:
    return read(folder / "runs" / RUN / "outcome.json", RunStatus)


def _fail(step: str, error: str, worker: str = "") -> None:
    """Run a step of the run that fails."""
    with pytest.raises(SystemExit), run_step(step, "work", RUN, worker):
        raise RunError(error)


def test_success_is_stored_without_a_webhook(tmp_path: Path) -> None:
    status = _notify(tmp_path, completion="cube:7 is the new champion")
    assert status.succeeded and status.error == ""
    assert status.text == "Monday (smoke) finished: cube:7 is the new champion"


def test_a_run_without_recorded_completion_has_failed(tmp_path: Path) -> None:
    status = _notify(tmp_path)
    assert not status.succeeded and status.error == "see the run's page and its logs"
    assert status.text == "Monday (smoke) FAILED: see the run's page and its logs"


def test_error_of_the_failed_step_is_in_the_status(tmp_path: Path) -> None:
    _fail("tune", "worker 1 has no GPU", worker="1")
    status = _notify(tmp_path / "store", RunFacts(name="Monday", step="tune"))
    assert (status.state, status.step) == ("failed", "tune")
    assert status.error == "step tune: worker 1 has no GPU"
    assert status.text == "Monday (smoke) FAILED: step tune: worker 1 has no GPU"


def test_error_without_an_answer_of_the_cluster_is_found(tmp_path: Path) -> None:
    _fail("ingest", "nowhere.npz does not exist")
    assert _notify(tmp_path / "store").step == "ingest"


def test_unexpected_error_is_reported_with_its_type(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_step("export", "work", RUN):
        raise ZeroDivisionError("float\ndivision")
    assert _notify(tmp_path / "store").error == "step export: ZeroDivisionError: float division"


def test_error_of_an_attempt_that_was_repeated_is_not_reported(tmp_path: Path) -> None:
    _fail("pretrain", "the disk is full")
    with run_step("pretrain", "work", RUN):
        pass
    killed = RunFacts(name="Monday", step="tune", error="it used more memory than its limit")
    status = _notify(tmp_path / "store", killed)
    assert status.error == "step tune: it used more memory than its limit"
    # The pod of the last attempt was killed: what an earlier attempt wrote is not the reason.
    _fail("tune", "the store does not answer")
    assert _notify(tmp_path / "store", killed).error == status.error


def test_step_that_left_no_error_is_named(tmp_path: Path) -> None:
    _fail("pretrain", "an error of another step")
    status = _notify(tmp_path / "store", RunFacts(name="Monday", step="tune"))
    assert status.error == "step tune: it ended without an error message; see its log"


def test_run_that_succeeds_after_a_retry_is_corrected_and_posted(
    webhook: Webhook, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "store")
    _fail("tune", "no GPU")
    _notify(tmp_path / "store", RunFacts(name="Monday", schedule="weekly"))
    _fail("tune", "again no GPU")
    assert "again no GPU" in _stored(tmp_path / "store").text
    assert len(webhook.posts) == 1
    record_completion(store, RUN, completed("cube:7 is the new champion"))
    status = _stored(tmp_path / "store")
    assert status.succeeded and status.state == "succeeded" and status.error == ""
    assert status.text == "Monday (smoke, schedule weekly) finished: cube:7 is the new champion"
    assert [post["succeeded"] for post in webhook.posts] == [False, True]


def test_status_of_an_older_release_is_corrected(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    old = {"schema-version": 1, "run": RUN, "name": "Monday", "recipe": "smoke", "error": "x"}
    old |= {"succeeded": False, "ended": "2026-01-01T00:00:00+00:00", "text": "Monday FAILED"}
    store.put(f"runs/{RUN}/outcome.json", json.dumps(old).encode())
    record_completion(store, RUN, completed("done"))
    assert _stored(tmp_path).text == "Monday (smoke) finished: done"


def test_cancelled_run_is_reported_as_cancelled(tmp_path: Path) -> None:
    _fail("tune", "ended by a signal")
    status = _notify(tmp_path / "store", RunFacts(name="Monday", cancelled=True))
    assert status.state == "cancelled" and not status.succeeded
    assert status.text == "Monday (smoke) was cancelled: a person ended the run"


def test_run_without_a_name_is_named_after_its_schedule_or_its_id(tmp_path: Path) -> None:
    assert _notify(tmp_path, RunFacts(schedule="weekly")).text.startswith("weekly (smoke) FAILED")
    assert _notify(tmp_path, RunFacts()).name == f"run {RUN}"


def test_webhook_hears_of_a_run_whose_store_does_not_answer(
    webhook: Webhook, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(QCError):
        notify_run_status(
            FolderStore(tmp_path / "store"), run_id=RUN, recipe="smoke", facts=RunFacts()
        )
    (post,) = webhook.posts
    assert not post["succeeded"] and "step outcome: " in post["error"]


def test_a_retraining_without_new_data_completes_and_says_so(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    version = publish(tmp_path / "run-1", open_dataset(dataset).source, None)
    for wanted, new in (("", True), (version, False)):
        warm = replace(config, train=replace(config.train, warm_start=wanted))
        write_new_data(warm, dataset, open_store(), tmp_path / "new-data.json")
        found = record_new_data(open_store(), RUN, tmp_path / "new-data.json")
        assert found == read(tmp_path / "new-data.json", NewData).new == new
    status = _notify(tmp_path / "store")
    assert status.succeeded and status.error == ""
    assert f"Monday (smoke) finished: Up to date: smoke:{version} was" in status.text


def test_failure_is_stored_and_posted_with_its_reason(webhook: Webhook, tmp_path: Path) -> None:
    status = _notify(tmp_path, RunFacts(name="Monday", error="no more\n  GPUs"))
    assert status.text == "Monday (smoke) FAILED: no more GPUs"
    assert webhook.posts == [to_json(status)]


def test_a_busy_webhook_is_retried(webhook: Webhook, tmp_path: Path) -> None:
    webhook.answers = [503, 200]
    _notify(tmp_path)
    assert len(webhook.posts) == 2


@pytest.mark.parametrize("code", [403, 302])
def test_a_webhook_that_refuses_is_logged_and_fails_nothing(
    webhook: Webhook, tmp_path: Path, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [code]
    assert _notify(tmp_path, completion="done").succeeded
    message = capsys.readouterr().err
    assert f"answered with {code}" in message and "secret" not in message


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "ftp://secret", "http://[secret"])
def test_an_unreachable_webhook_is_logged_without_its_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QC_WEBHOOK_URL", url)
    assert _notify(tmp_path, completion="done").succeeded
    message = capsys.readouterr().err
    assert "webhook" in message.lower() and "secret" not in message


def test_a_run_id_with_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run id"):
        notify_run_status(FolderStore(tmp_path), run_id="../../x", recipe="", facts=RunFacts())


def test_external_readers_find_the_documented_keys(webhook: Webhook, tmp_path: Path) -> None:
    _notify(tmp_path, completion="done")
    (post,) = webhook.posts
    ended = post.pop("ended")
    assert ended.endswith("+00:00")
    assert post == {
        "schema-version": 1,
        "run": RUN,
        "name": "Monday",
        "schedule": "",
        "recipe": "smoke",
        "succeeded": True,
        "state": "succeeded",
        "step": "",
        "error": "",
        "warning": "",
        "text": "Monday (smoke) finished: done",
    }

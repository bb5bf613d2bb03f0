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
from qc_core.errors import UsageError
from qc_core.notify.run_status import (
    RunStatus,
    has_new_data,
    notify_run_status,
    record_completion,
)
from qc_core.retraining.new_data import NewData
from qc_core.store.local_store import FolderStore
from qc_core.store.open import open_store
from tests.qc_core.retraining.versions import publish


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


def _notify(folder: Path, error: str = "", completion: str = "") -> RunStatus:
    """End a run; return its status as the store has it."""
    store = FolderStore(folder)
    if completion:
        record_completion(store, "0b5e-11", completion)
    status = notify_run_status(store, run_id="0b5e-11", name="Monday", recipe="smoke", error=error)
    stored = read(folder / "runs" / "0b5e-11" / "outcome.json", RunStatus)
    assert stored == status
    return stored


def test_success_is_stored_without_a_webhook(tmp_path: Path) -> None:
    status = _notify(tmp_path, completion="cube:7 is the new champion")
    assert status.succeeded and status.error == ""
    assert status.text == "Monday (smoke) finished: cube:7 is the new champion"


def test_a_run_without_recorded_completion_has_failed(tmp_path: Path) -> None:
    status = _notify(tmp_path)
    assert not status.succeeded and status.error == "see the run's page and its logs"
    assert status.text == "Monday (smoke) FAILED: see the run's page and its logs"


def test_a_run_whose_step_was_retried_has_succeeded(tmp_path: Path) -> None:
    status = _notify(
        tmp_path, error="the first attempt failed", completion="cube:7 is the new champion"
    )
    assert status.succeeded and "attempt" not in status.text


def test_a_retraining_without_new_data_completes_and_says_so(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    version = publish(tmp_path / "run-1", open_dataset(dataset).source, None)
    for wanted, new in (("", True), (version, False)):
        warm = replace(config, train=replace(config.train, warm_start=wanted))
        found = has_new_data(warm, dataset, open_store(), "0b5e-11", tmp_path / "new-data.json")
        assert found == read(tmp_path / "new-data.json", NewData).new == new
    status = _notify(tmp_path / "store")
    assert status.succeeded and status.error == ""
    assert f"Monday (smoke) finished: up to date: smoke:{version} was" in status.text


def test_failure_is_stored_and_posted_with_its_reason(webhook: Webhook, tmp_path: Path) -> None:
    status = _notify(tmp_path, error="no more\n  GPUs")
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
        notify_run_status(FolderStore(tmp_path), run_id="../../x", name="", recipe="", error="")


def test_external_readers_find_the_documented_keys(webhook: Webhook, tmp_path: Path) -> None:
    _notify(tmp_path, completion="done")
    (post,) = webhook.posts
    ended = post.pop("ended")
    assert ended.endswith("+00:00")
    assert post == {
        "schema-version": 1,
        "run": "0b5e-11",
        "name": "Monday",
        "recipe": "smoke",
        "succeeded": True,
        "error": "",
        "text": "Monday (smoke) finished: done",
    }

"""The outcome of a run is in the store whatever the webhook does."""

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
from qc_core.errors import UsageError
from qc_core.notify.run_status import note_end, tell_news, tell_outcome
from qc_core.store.local_store import FolderStore
from qc_core.store.open import open_store
from tests.qc_core.retraining.test_lineage import publish


class Webhook:
    """A chat's server: takes posts, answers with the next status of a list."""

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


def _tell(folder: Path, error: str = "", ended: str = "") -> dict[str, Any]:
    store = FolderStore(folder)
    if ended:
        note_end(store, "0b5e-11", ended)
    tell_outcome(
        store,
        run="0b5e-11",
        name="Monday",
        recipe="smoke",
        error=error,
    )
    return _stored(folder)


def _stored(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs" / "0b5e-11" / "outcome.json").read_text())


def test_success_is_told_in_the_store_alone_where_there_is_no_webhook(tmp_path: Path) -> None:
    outcome = _tell(tmp_path, ended="cube:7 is the new champion")
    assert outcome["succeeded"] and outcome["error"] == ""
    assert outcome["text"] == "Monday (smoke) finished: cube:7 is the new champion"


def test_a_run_that_did_not_note_its_end_has_failed_whatever_else_is_known(tmp_path: Path) -> None:
    outcome = _tell(tmp_path)
    assert not outcome["succeeded"] and outcome["error"] == "its page and its logs say why"
    assert outcome["text"] == "Monday (smoke) FAILED: its page and its logs say why"


def test_a_step_that_was_tried_again_is_no_failure(tmp_path: Path) -> None:
    outcome = _tell(tmp_path, error="the first attempt failed", ended="cube:7 is the new champion")
    assert outcome["succeeded"] and "attempt" not in outcome["text"]


def test_a_retraining_without_news_says_so(tmp_path: Path, config: Config, dataset: Path) -> None:
    version = publish(tmp_path / "run-1", open_dataset(dataset).source, None)
    for wanted, new in (("", True), (version, False)):
        asked = replace(config, train=replace(config.train, warm_start=wanted))
        told = tell_news(asked, dataset, open_store(), "0b5e-11", tmp_path / "news.json")
        assert told == json.loads((tmp_path / "news.json").read_text())["new"] == new
    outcome = _tell(tmp_path / "store")
    assert outcome["succeeded"] and outcome["error"] == ""
    assert f"Monday (smoke) finished: nothing new: smoke:{version} has" in outcome["text"]


def test_failure_says_why_to_both(webhook: Webhook, tmp_path: Path) -> None:
    outcome = _tell(tmp_path, error="no more\n  GPUs")
    assert outcome["text"] == "Monday (smoke) FAILED: no more GPUs"
    assert webhook.posts == [outcome]


def test_a_webhook_that_is_busy_is_asked_again(webhook: Webhook, tmp_path: Path) -> None:
    webhook.answers = [503, 200]
    _tell(tmp_path)
    assert len(webhook.posts) == 2


@pytest.mark.parametrize("status", [403, 302])
def test_a_webhook_that_refuses_is_mentioned_and_fails_nothing(
    webhook: Webhook, tmp_path: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [status]
    assert _tell(tmp_path, ended="done")["succeeded"]
    said = capsys.readouterr().err
    assert f"refuses with {status}" in said and "secret" not in said


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "ftp://secret", "http://[secret"])
def test_a_webhook_that_is_not_there_shows_no_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QC_WEBHOOK_URL", url)
    assert _tell(tmp_path, ended="done")["succeeded"]
    said = capsys.readouterr().err
    assert "webhook" in said.lower() and "secret" not in said


def test_a_run_id_cannot_name_another_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run id"):
        tell_outcome(FolderStore(tmp_path), run="../../x", name="", recipe="", error="")

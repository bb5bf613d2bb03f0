"""How a run of the pipeline ended, where people look: in the store and at a webhook."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import urllib3

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.errors import QCError, RunError, UsageError
from qc_core.files import write_json
from qc_core.log import log
from qc_core.names import require_name
from qc_core.retraining.lineage import find_new_data
from qc_core.store.objects import NoSuchObject, ObjectStore

WEBHOOK_VARIABLE = "QC_WEBHOOK_URL"
SCHEMA_VERSION = 1
_TIMEOUT = urllib3.Timeout(connect=5, read=15)
_RETRIES = urllib3.Retry(
    3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
)
_LONGEST_ERROR = 2000


def tell_news(config: Config, dataset: Path, store: ObjectStore, run: str, output: Path) -> bool:
    """Write whether a retraining has anything to learn, and return it.

    Where it has not, the run ends with that.

    Args:
        dataset: the data set folder.
        run: id of the run, part of a key.
    """
    news = find_new_data(config, open_dataset(dataset).source, store)
    if not news.new:
        log.info(news.text)
        note_end(store, run, news.text)
    write_json(output, news.as_dict())
    return news.new


def note_end(store: ObjectStore, run: str, text: str) -> None:
    """Note that a run has come to its end, and to what.

    Args:
        run: id of the run, part of a key.
        text: one line for a person.
    """
    require_name(run, "run id")
    store.put(_note_key(run), text.encode())


def tell_outcome(
    store: ObjectStore, *, run: str, name: str, recipe: str, error: str
) -> dict[str, Any]:
    """Write `runs/RUN/outcome.json` and, if `QC_WEBHOOK_URL` is set, post the same there.

    A run has succeeded that has noted its end: what KFP says of its state is not to be relied on,
    it is behind where steps were retried, left out or killed.

    The JSON has a `text`, which chats show as a message. A webhook that does not take it is
    mentioned and fails nothing: the run is as good as it was, and the store has its outcome.

    Args:
        run: id of the run, part of the key.
        error: why it failed, as far as the server knows.
    """
    require_name(run, "run id")
    note = _read_note(store, run)
    succeeded = note is not None
    reason = note or " ".join(error.split())[:_LONGEST_ERROR] or "its page and its logs say why"
    ending = "finished" if succeeded else "FAILED"
    content = {
        "schema-version": SCHEMA_VERSION,
        "run": run,
        "name": name,
        "recipe": recipe,
        "succeeded": succeeded,
        "error": "" if succeeded else reason,
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "text": f"{name} ({recipe}) {ending}: {reason}",
    }
    store.put(f"runs/{run}/outcome.json", (json.dumps(content, indent=2) + "\n").encode())
    log.info(f"{content['text']}; runs/{run}/outcome.json in {store.describe()}")
    if url := os.environ.get(WEBHOOK_VARIABLE):
        try:
            _post(url, content)
        except QCError as failed:
            log.info(str(failed))
    return content


def _note_key(run: str) -> str:
    return f"runs/{run}/ended.txt"


def _read_note(store: ObjectStore, run: str) -> str | None:
    try:
        return store.get(_note_key(run)).decode()
    except NoSuchObject:
        return None


def _post(url: str, content: dict[str, Any]) -> None:
    # No message shows the URL: those who know it may post.
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{WEBHOOK_VARIABLE} must be an http:// or https:// URL")
    try:
        answer = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES).request(
            "POST", url, json=content
        )
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise RunError(f"the webhook does not answer ({type(error).__name__})") from error
    if answer.status >= 300:
        raise RunError(f"the webhook refuses with {answer.status}: check {WEBHOOK_VARIABLE}")

"""Report the status of a run in the store and to a webhook."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import urllib3

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import Document
from qc_core.errors import QCError, RunError, UsageError
from qc_core.log import log
from qc_core.names import require_name
from qc_core.retraining.new_data import find_new_data
from qc_core.store.objects import NoSuchObject, ObjectStore

WEBHOOK_VARIABLE = "QC_WEBHOOK_URL"
SCHEMA_VERSION = 1
_TIMEOUT = urllib3.Timeout(connect=5, read=15)
_RETRIES = urllib3.Retry(
    3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
)
_MAX_ERROR_LENGTH = 2000


class RunStatus(Document, frozen=True, kw_only=True):
    """Status of a finished run: `runs/RUN/outcome.json`, and the body of the webhook's post.

    Attributes:
        name: name of the run in the KFP UI.
        error: why the run failed; empty after success.
        ended: time in UTC, ISO 8601.
        text: one line for people. Chat services show this field as the message.
    """

    run_id: str = msgspec.field(name="run")
    name: str
    recipe: str
    succeeded: bool
    error: str
    ended: str
    text: str
    schema_version: int = SCHEMA_VERSION


def has_new_data(
    config: Config, dataset: Path, store: ObjectStore, run_id: str, output: Path
) -> bool:
    """Return whether a retraining has new data, and write the reason to `output`.

    Without new data the run ends here, so the run is recorded as completed.

    Args:
        dataset: the data set folder.
        output: the JSON file to write.
    """
    found = find_new_data(config, open_dataset(dataset).source, store)
    if not found.new:
        log.info(found.text)
        record_completion(store, run_id, found.text)
    documents.write(output, found)
    return found.new


def record_completion(store: ObjectStore, run_id: str, text: str) -> None:
    """Record in the store that a run completed.

    Args:
        text: the result, in one line.
    """
    require_name(run_id, "run id")
    store.put(_completion_key(run_id), text.encode())


def notify_run_status(
    store: ObjectStore, *, run_id: str, name: str, recipe: str, error: str
) -> RunStatus:
    """Write `runs/RUN/outcome.json`, and post it to `QC_WEBHOOK_URL` if that is set.

    A run succeeded if it recorded its completion. The state that KFP reports is unreliable when
    steps were retried, skipped or killed.

    A failing webhook is logged and otherwise ignored: the store has the status.

    Args:
        name: name of the run.
        error: the error that the server reports, or "".
    """
    require_name(run_id, "run id")
    completion = _read_completion(store, run_id)
    reason = completion or " ".join(error.split())[:_MAX_ERROR_LENGTH]
    reason = reason or "see the run's page and its logs"
    verb = "FAILED" if completion is None else "finished"
    status = RunStatus(
        run_id=run_id,
        name=name,
        recipe=recipe,
        succeeded=completion is not None,
        error=reason if completion is None else "",
        ended=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        text=f"{name} ({recipe}) {verb}: {reason}",
    )
    key = f"runs/{run_id}/outcome.json"
    store.put(key, documents.encode(status))
    log.info(f"{status.text}; {key} in {store.describe()}")
    if url := os.environ.get(WEBHOOK_VARIABLE):
        try:
            _post(url, status)
        except QCError as failure:
            log.info(str(failure))
    return status


def _completion_key(run_id: str) -> str:
    return f"runs/{run_id}/ended.txt"


def _read_completion(store: ObjectStore, run_id: str) -> str | None:
    try:
        return store.get(_completion_key(run_id)).decode()
    except NoSuchObject:
        return None


def _post(url: str, status: RunStatus) -> None:
    # Messages never show the URL: whoever knows it may post.
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{WEBHOOK_VARIABLE} must be an http:// or https:// URL")
    try:
        answer = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES).request(
            "POST", url, json=documents.to_json(status)
        )
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise RunError(f"the webhook does not answer ({type(error).__name__})") from error
    if answer.status >= 300:
        raise RunError(f"the webhook answered with {answer.status}: check {WEBHOOK_VARIABLE}")

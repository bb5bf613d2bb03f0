"""Report the status of a run in the store and to a webhook."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import urllib3

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import Document
from qc_core.errors import QCError, RunError, UsageError
from qc_core.log import log
from qc_core.notify.completion import (
    Completion,
    completion_without_training,
    read_completion,
    write_completion,
)
from qc_core.notify.failures import one_line, read_failures
from qc_core.results.run_objects import read_document, run_key
from qc_core.retraining.new_data import NewData, find_new_data
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import utc_now
from qc_core.tracking.open import end_failed_run

WEBHOOK_VARIABLE = "QC_WEBHOOK_URL"
SCHEMA_VERSION = 1
_STATUS = "outcome.json"
_TIMEOUT = urllib3.Timeout(connect=5, read=15)
_RETRIES = urllib3.Retry(
    3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
)


class RunStatus(Document, frozen=True, kw_only=True):
    """Status of a finished run: `runs/RUN/outcome.json`, and the body of the webhook's post.

    Attributes:
        name: name of the run in the KFP UI.
        schedule: name of the schedule that started it; empty for a run of its own.
        state: succeeded, failed or cancelled.
        step: that failed, if that is known.
        error: why the run did not succeed, in one line; empty after success.
        warning: what else a person should know, in one line.
        ended: time in UTC, ISO 8601.
        text: one line for people. Chat services show this field as the message.
    """

    run_id: str = msgspec.field(name="run")
    name: str
    schedule: str = ""
    recipe: str
    succeeded: bool
    state: str = ""
    step: str = ""
    error: str
    warning: str = ""
    ended: str
    text: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the server of a run knows about it; empty where it does not answer.

    Attributes:
        name: of the run.
        schedule: that started it.
        cancelled: a person ended it.
        step: that failed.
        error: why, in one line, if the step itself cannot have reported it.
        warning: what else a person should know, in one line.
    """

    name: str = ""
    schedule: str = ""
    cancelled: bool = False
    step: str = ""
    error: str = ""
    warning: str = ""


def write_new_data(config: Config, dataset: Path, store: ObjectStore, output: Path) -> None:
    """Write whether a retraining has new data.

    Args:
        dataset: the dataset folder.
        output: the JSON file to write.
    """
    documents.write(output, find_new_data(config, open_dataset(dataset).source, store))


def record_new_data(store: ObjectStore, run_id: str, new_data: Path) -> bool:
    """Return what `write_new_data` wrote: whether a retraining has new data.

    Without new data the run ends here, so the run is recorded as completed.
    """
    found = documents.read(new_data, NewData)
    if not found.new:
        completion = completion_without_training(found)
        log.info(completion.verdict)
        record_completion(store, run_id, completion)
    return found.new


def record_completion(store: ObjectStore, run_id: str, completion: Completion) -> None:
    """Record in the store that a run completed, and its result.

    If the run's status is already there, a person has repeated the failed steps of the run, whose
    last step does not run again: the status is corrected and posted here.
    """
    write_completion(store, run_id, completion)
    earlier = read_status(store, run_id)
    if earlier is not None:
        notify_run_status(store, run_id=run_id, recipe=earlier.recipe, facts=_facts_of(earlier))


def correct_failed_status(store: ObjectStore, run_id: str, step: str) -> None:
    """Write the newest error into the status of a run that has failed again after a retry.

    Args:
        step: that failed and has recorded its error. It may still be repeated, so nothing is
            posted.
    """
    earlier = read_status(store, run_id)
    if earlier is not None and not earlier.succeeded:
        facts = replace(_facts_of(earlier), step=step)
        status = _status(store, run_id, earlier.recipe, facts)
        store.put(run_key(run_id, _STATUS), documents.encode(status))


def notify_run_status(
    store: ObjectStore, *, run_id: str, recipe: str, facts: RunFacts
) -> RunStatus:
    """Write `runs/RUN/outcome.json`, and post it to `QC_WEBHOOK_URL` if that is set.

    A run succeeded if it recorded its completion. The state that KFP reports is unreliable when
    steps were retried, skipped or killed.

    If the store does not answer, the failure is still posted to the webhook. A failing webhook
    is logged and otherwise ignored: the store has the status.

    Raises:
        QCError: the store did not take the status.
    """
    key = run_key(run_id, _STATUS)
    try:
        status = _status(store, run_id, recipe, facts)
        store.put(key, documents.encode(status))
    except QCError as error:
        _notify_webhook(_failed(run_id, recipe, facts, "outcome", str(error)))
        raise
    log.info(f"{status.text}; {key} in {store.describe()}")
    if status.warning:
        log.info(f"warning: {status.warning}")
    _notify_webhook(status)
    if not status.succeeded:
        end_failed_run(run_id)
    return status


def _status(store: ObjectStore, run_id: str, recipe: str, facts: RunFacts) -> RunStatus:
    completion = read_completion(store, run_id)
    if completion is None:
        return _failed(run_id, recipe, facts, *_failure(store, run_id, facts))
    return RunStatus(
        run_id=run_id,
        name=_name(run_id, facts),
        schedule=facts.schedule,
        recipe=recipe,
        succeeded=True,
        state="succeeded",
        error="",
        warning=facts.warning,
        ended=utc_now(),
        text=f"{_title(run_id, recipe, facts)} finished: {completion.verdict}",
    )


def _failed(run_id: str, recipe: str, facts: RunFacts, step: str, reason: str) -> RunStatus:
    reason = one_line(reason)
    error = f"step {step}: {reason}" if step else reason
    verb = "was cancelled" if facts.cancelled else "FAILED"
    return RunStatus(
        run_id=run_id,
        name=_name(run_id, facts),
        schedule=facts.schedule,
        recipe=recipe,
        succeeded=False,
        state="cancelled" if facts.cancelled else "failed",
        step=step,
        error=error,
        warning=facts.warning,
        ended=utc_now(),
        text=f"{_title(run_id, recipe, facts)} {verb}: {error}",
    )


def _failure(store: ObjectStore, run_id: str, facts: RunFacts) -> tuple[str, str]:
    """Return the step that failed, '' if it is unknown, and the reason."""
    if facts.cancelled:
        return "", "a person ended the run"
    if facts.error:
        # Of a step that was killed, an error in the store is that of an earlier attempt.
        return facts.step, facts.error
    failures = read_failures(store, run_id)
    own = [failure for failure in failures if failure.step == facts.step or not facts.step]
    if own:
        return own[-1].step, own[-1].error
    if facts.step:
        return facts.step, "it ended without an error message; see its log"
    return "", "see the run's page and its logs"


def _name(run_id: str, facts: RunFacts) -> str:
    """Return the name of the run; KFP has none for some scheduled runs."""
    return facts.name or facts.schedule or f"run {run_id[:8]}"


def _title(run_id: str, recipe: str, facts: RunFacts) -> str:
    name = _name(run_id, facts)
    if facts.schedule and facts.schedule not in name:
        return f"{name} ({recipe}, schedule {facts.schedule})"
    return f"{name} ({recipe})"


def _notify_webhook(status: RunStatus) -> None:
    if url := os.environ.get(WEBHOOK_VARIABLE):
        try:
            _post(url, status)
        except QCError as failure:
            log.info(str(failure))


def read_status(store: ObjectStore, run_id: str) -> RunStatus | None:
    """Return the status of a finished run, or None if it has none."""
    return read_document(store, run_key(run_id, _STATUS), RunStatus)


def _facts_of(status: RunStatus) -> RunFacts:
    return RunFacts(name=status.name, schedule=status.schedule, warning=status.warning)


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

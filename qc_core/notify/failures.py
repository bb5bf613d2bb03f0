"""The errors of failed steps in the store, where the run's last step finds them.

KFP passes no error from one step to another. Argo repeats failed steps, so an attempt that succeeds
removes what an earlier one left.
"""

from __future__ import annotations

from qc_core import documents
from qc_core.documents import Document
from qc_core.log import printable
from qc_core.results.run_objects import read_document, run_key
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import utc_now

MAX_ERROR_LENGTH = 2000
_FOLDER = "failures/"


class StepFailure(Document, frozen=True, kw_only=True):
    """The error of the last attempt of a step: `runs/RUN/failures/PART.json`.

    Attributes:
        error: one line.
        failed: time in UTC, ISO 8601.
    """

    step: str
    error: str
    failed: str


def record_failure(store: ObjectStore, run_id: str, name: str, part: str, error: str) -> None:
    """Write the error of a step's attempt; it replaces that of an earlier attempt."""
    failure = StepFailure(step=name, error=one_line(error), failed=utc_now())
    store.put(_key(run_id, part), documents.encode(failure))


def clear_failure(store: ObjectStore, run_id: str, part: str) -> None:
    """Remove the error of an earlier attempt, if there is one."""
    store.delete(_key(run_id, part))


def read_failures(store: ObjectStore, run_id: str) -> list[StepFailure]:
    """Return the errors that steps of a run left, the newest last."""
    keys = store.keys(run_key(run_id, _FOLDER))
    found = [read_document(store, key, StepFailure) for key in keys]
    return sorted(filter(None, found), key=lambda failure: failure.failed)


def one_line(text: str) -> str:
    """Return a text of limited length on one printable line."""
    return printable(" ".join(text.split()))[:MAX_ERROR_LENGTH]


def _key(run_id: str, part: str) -> str:
    return run_key(run_id, f"{_FOLDER}{part}.json")

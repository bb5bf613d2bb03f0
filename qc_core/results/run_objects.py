"""The objects of a run: everything below `runs/RUN/` in the store."""

from __future__ import annotations

from typing import TypeVar

from qc_core import documents
from qc_core.documents import Document
from qc_core.names import require_name
from qc_core.store.objects import NoSuchObject, ObjectStore

RUNS = "runs/"

D = TypeVar("D", bound=Document)


def run_key(run_id: str, name: str) -> str:
    """Return the key of an object of a run; of a folder, if the name ends with a slash.

    Raises:
        UsageError: the id is no name.
    """
    require_name(run_id, "run id")
    return f"{RUNS}{run_id}/{name}"


def read_document(store: ObjectStore, key: str, kind: type[D]) -> D | None:
    """Read a document; None if it does not exist (UsageError: it is damaged)."""
    try:
        return documents.parse(store.get(key), kind, f"{key} in {store.describe()}")
    except NoSuchObject:
        return None

"""What each step of a run cost: `runs/RUN/costs/PART.json` in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from qc_core import documents
from qc_core.documents import Document
from qc_core.energy import GpuEnergy
from qc_core.errors import QCError
from qc_core.provenance import hardware
from qc_core.results.run_objects import read_document, run_key
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store

_FOLDER = "costs/"


class StepCost(Document, frozen=True, kw_only=True):
    """Time and energy of a step; of all its attempts, if it was repeated.

    Attributes:
        worker: number of the worker, '' for a step without workers.
        seconds: wall-clock time of its work, without the start of its pod or process.
        ended: time in UTC, ISO 8601.
        hardware: processor and GPU of the last attempt, for people.
        gpu_joules: energy of the GPU while the step ran; None if that is not measured.
    """

    step: str
    worker: str
    attempts: int
    seconds: float
    hardware: str
    ended: str
    gpu_joules: float | None = None


@contextmanager
def recording_cost(run_id: str, step: str, worker: str = "") -> Iterator[None]:
    """Add what the block costs to the step's record; a store that does not answer is ignored."""
    energy, start = GpuEnergy(), time.monotonic()
    try:
        yield
    finally:
        spent = _Spent(time.monotonic() - start, energy.joules())
        with suppress(QCError):
            _add(open_store(), run_id, step, worker, spent)


def read_costs(store: ObjectStore, run_id: str) -> list[StepCost]:
    """Return what the steps of a run have cost so far, in the order in which they ended."""
    keys = store.keys(run_key(run_id, _FOLDER))
    costs = [read_document(store, key, StepCost) for key in keys]
    return sorted(filter(None, costs), key=lambda cost: cost.ended)


@dataclass(frozen=True, slots=True)
class _Spent:
    seconds: float
    joules: float | None


def _add(store: ObjectStore, run_id: str, step: str, worker: str, spent: _Spent) -> None:
    key = run_key(run_id, f"{_FOLDER}{step}{'-' if worker else ''}{worker}.json")
    before = read_document(store, key, StepCost)
    joules = spent.joules
    if joules is not None and before is not None:
        joules += before.gpu_joules or 0.0
    cost = StepCost(
        step=step,
        worker=worker,
        attempts=1 + (before.attempts if before else 0),
        seconds=spent.seconds + (before.seconds if before else 0.0),
        hardware=hardware(),
        ended=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        gpu_joules=joules,
    )
    store.put(key, documents.encode(cost))

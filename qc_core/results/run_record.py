"""What a run was asked to do, in the store: `runs/RUN/run.json`.

A run that continues an earlier one finds there which configuration it must have, and in which
tuning study it takes part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qc_core import documents, provenance
from qc_core.config.differences import changed_training
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.documents import Document, plain
from qc_core.errors import UsageError
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.results.run_objects import read_document, run_key
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import utc_now

_RECORD = "run.json"


class RunRecord(Document, frozen=True, kw_only=True):
    """`runs/RUN/run.json`, which the first step writes.

    Attributes:
        config: the resolved configuration.
        study: name of the tuning study in its storage: that of the earliest run of a chain.
        continues: id of the run whose results this one takes over; empty for a run of its own.
        commit: of the code; empty in records of early releases, as `started`.
        started: time in UTC, ISO 8601.
    """

    config: dict[str, Any]
    study: str
    continues: str = ""
    commit: str = ""
    started: str = ""
    schema_version: int = 1


def record_of(config: Config, run_id: str) -> RunRecord:
    """Return the record of a run that continues no other one."""
    return RunRecord(
        config=plain(to_mapping(config)),
        study=run_id,
        commit=provenance.git_commit(),
        started=utc_now(),
    )


def write_record(store: ObjectStore, run_id: str, record: RunRecord) -> None:
    """Write the record of a run."""
    store.put(run_key(run_id, _RECORD), documents.encode(record))


def read_record(store: ObjectStore, run_id: str) -> RunRecord | None:
    """Return the record of a run, or None if it has none."""
    return read_document(store, run_key(run_id, _RECORD), RunRecord)


def require_record(store: ObjectStore, run_id: str) -> RunRecord:
    """Return the record of a run that is to be continued (UsageError: it has none)."""
    record = read_record(store, run_id)
    if record is None:
        raise UsageError(
            f"{store.describe()} has no run {run_id} that could be continued: give the id of a "
            "run whose first step has finished"
        )
    return record


def study_of(store: ObjectStore, run_id: str) -> str:
    """Return the name of a run's tuning study."""
    record = read_record(store, run_id)
    return record.study if record is not None else run_id


def with_parent_of(earlier: RunRecord, config: Config, store: ObjectStore) -> Config:
    """Return the configuration with the parent policy of the earlier run.

    Since then, an alias such as `champion` may have moved.
    """
    wanted = config.train.warm_start
    if wanted != CHAMPION and (
        not wanted or Registry(store).alias(config.policy_name, wanted) is None
    ):
        return config
    return replace(
        config, train=replace(config.train, warm_start=earlier.config["train"]["warm-start"])
    )


def require_same_training(earlier: RunRecord, config: Config, run_id: str) -> None:
    """Refuse to continue a run with options for which its results are not valid.

    Raises:
        UsageError: an option that changes data or training differs, or there are fewer trials.
    """
    now = plain(to_mapping(config))
    if changed := changed_training(earlier.config, now):
        raise UsageError(
            f"run {run_id} was started with {', '.join(changed)}: give the same to continue it, or "
            "start a new run"
        )
    planned = earlier.config["tune"]["trials"]
    if config.tune.trials < planned:
        raise UsageError(
            f"--tune.trials must be at least {planned}, which run {run_id} has planned, got "
            f"{config.tune.trials}"
        )

"""A run, wherever it is: in the store, in a folder of this machine, or in both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from qc_core.config.differences import changes_to_recipe
from qc_core.config.document import as_config
from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.evaluation.result import OFFLINE, ONLINE, Evaluation, PolicyResult
from qc_core.names import is_name
from qc_core.notify.completion import read_completion
from qc_core.notify.run_status import read_status
from qc_core.results.run_objects import RUNS
from qc_core.results.run_record import read_record
from qc_core.runs.record import RunCurves, read_curves, read_evaluation
from qc_core.store.objects import ObjectStore

UNFINISHED = "unfinished"
# Requests to a store at once.
_READERS = 8


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of a run; empty or None where it is not.

    Attributes:
        run_id: of the run in the store.
        name: its folder's name, or its name in the KFP UI.
        state: succeeded, failed, cancelled, running, interrupted or unfinished.
        started, ended: times in UTC, ISO 8601.
        seconds: wall-clock time.
        policy: the published version, NAME:VERSION.
        champion: the version became champion.
        error: why it did not succeed, in one line.
        folder: of a run on this machine.
        read_curves: reads its curves; None if it has none.
    """

    run_id: str
    name: str
    recipe: str
    state: str
    started: str = ""
    ended: str = ""
    seconds: float | None = None
    config: dict[str, Any] | None = None
    commit: str = ""
    evaluation: Evaluation | None = None
    policy: str = ""
    champion: bool = False
    error: str = ""
    folder: Path | None = None
    read_curves: Callable[[], RunCurves | None]

    @property
    def parsed_config(self) -> Config | None:
        """The configuration; None if it is unknown or this release cannot read it."""
        try:
            return None if self.config is None else as_config(self.config, self.name)
        except UsageError:
            return None

    @property
    def method(self) -> str:
        """The training method; empty if it is unknown."""
        return "" if self.config is None else str(self.config["train"]["method"])

    @property
    def changes(self) -> dict[str, Any]:
        """Options in which the configuration differs from the recipe of this release."""
        config = self.parsed_config
        try:
            return {} if config is None else changes_to_recipe(config)
        except UsageError:
            return {}

    @property
    def offline(self) -> PolicyResult | None:
        """How the policy of the offline phase performed; None without such a phase."""
        return None if self.evaluation is None else self.evaluation.policy(OFFLINE)

    @property
    def online(self) -> PolicyResult | None:
        """How the fine-tuned policy performed; None without fine-tuning."""
        return None if self.evaluation is None else self.evaluation.policy(ONLINE)


def stored_runs(store: ObjectStore) -> list[Run]:
    """Return every run of a store, in no order."""
    ids = [name for name in store.folders(RUNS) if is_name(name)]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(partial(read_run, store), ids))


def read_run(store: ObjectStore, run_id: str) -> Run:
    """Return what the store has of a run."""
    start, status = read_record(store, run_id), read_status(store, run_id)
    completion = read_completion(store, run_id)
    recipe = status.recipe if status is not None else ""
    if start is not None:
        recipe = start.config["recipe"]
    state = UNFINISHED
    if status is not None:
        state = status.state or ("succeeded" if status.succeeded else "failed")
    return Run(
        run_id=run_id,
        name=status.name if status is not None else run_id,
        recipe=recipe,
        state=state,
        started=start.started if start is not None else "",
        ended=status.ended if status is not None else "",
        seconds=_seconds(start.started, status.ended)
        if start and start.started and status
        else None,
        config=start and start.config,
        commit=start.commit if start is not None else "",
        evaluation=read_evaluation(store, run_id),
        policy=completion.policy if completion is not None else "",
        champion=completion is not None and completion.champion,
        error=status.error if status is not None else "",
        read_curves=partial(read_curves, store, run_id),
    )


def _seconds(started: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()

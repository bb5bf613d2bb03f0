"""The runs that this machine can see: those in its run folders, and those in the store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.run_folder import RUN, RUNS, STEPS, SUMMARY, LocalRun, is_running
from qc_core import documents
from qc_core.errors import UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.publish.promotion import Promotion
from qc_core.runs.record import RunCurves, curves_of
from qc_core.runs.run import UNFINISHED, Run, read_run, stored_runs
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import time_of

_RUNNING = "running"


def all_runs(store: ObjectStore) -> list[Run]:
    """Return the runs of a store and those in ./runs, the newest first."""
    runs = {run.run_id: run for run in stored_runs(store)}
    for path in RUNS.glob(f"*/{RUN}"):
        # A damaged folder must not hide the other runs.
        with suppress(UsageError):
            local = local_run(path.parent)
            runs[local.run_id] = _merged(runs.get(local.run_id), local)
    return sorted(runs.values(), key=lambda run: run.started or run.ended, reverse=True)


def find_run(store: ObjectStore, reference: str) -> Run:
    """Return the run with this folder, name, id or beginning of an id.

    Raises:
        UsageError: there is none, or several.
    """
    if (Path(reference) / RUN).exists():
        local = local_run(Path(reference))
        return _merged(read_run(store, local.run_id), local)
    runs = all_runs(store)
    exact = [run for run in runs if reference in (run.run_id, run.name)]
    found = exact or [run for run in runs if run.run_id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.run_id for run in found)
        raise UsageError(f"{len(found)} runs are called {reference!r}: give one of the ids {ids}")
    raise UsageError(
        f"there is no run {reference!r} in ./{RUNS} or in {store.describe()}: `qc runs` lists them"
    )


def local_run(folder: Path) -> Run:
    """Return what a run folder has (UsageError: it is damaged)."""
    content = documents.read(folder / RUN, LocalRun)
    state = "succeeded" if (folder / SUMMARY).exists() else "interrupted"
    started = time_of(content.run_id)
    evaluation = _output(folder, "evaluate/evaluation")
    promotion = _output(folder, "promote/promotion")
    published = documents.read(promotion, Promotion) if promotion is not None else None
    return Run(
        run_id=content.run_id,
        name=folder.resolve().name,
        recipe=content.config["recipe"],
        state=_RUNNING if is_running(folder) else state,
        started=started.isoformat(timespec="seconds") if started is not None else "",
        seconds=content.seconds.get("all"),
        config=content.config,
        evaluation=documents.read(evaluation, Evaluation) if evaluation is not None else None,
        policy=f"{published.name}:{published.version}" if published is not None else "",
        champion=published is not None and published.champion,
        folder=folder,
        read_curves=partial(_curves, folder),
    )


def _merged(stored: Run | None, local: Run) -> Run:
    """Return one run from what the store and a folder have of it."""
    if stored is None:
        return local
    is_newer = local.state == _RUNNING or stored.state == UNFINISHED
    return replace(
        stored,
        name=local.name,
        recipe=local.recipe,
        state=local.state if is_newer else stored.state,
        started=stored.started or local.started,
        seconds=local.seconds or stored.seconds,
        config=local.config,
        evaluation=stored.evaluation or local.evaluation,
        policy=stored.policy or local.policy,
        champion=stored.champion or local.champion,
        folder=local.folder,
        read_curves=local.read_curves if stored.evaluation is None else stored.read_curves,
    )


def _curves(folder: Path) -> RunCurves | None:
    offline, history = _output(folder, "pretrain/checkpoint"), _output(folder, "select/history")
    return None if offline is None or history is None else curves_of(offline, history)


def _output(folder: Path, name: str) -> Path | None:
    """Return the output of a finished step, such as `evaluate/evaluation`."""
    return next((folder / STEPS).glob(f"*/{name}"), None)

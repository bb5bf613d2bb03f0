"""Run a sweep: its training runs in parallel, one CSV and one figure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path

import msgspec

from qc_core import documents
from qc_core.data.ingest import ingest
from qc_core.errors import QCError, RunError, UsageError
from qc_core.files import require_vacant, require_writable, staged_file
from qc_core.log import log
from qc_core.sweeps.definition import Sweep, SweepRun
from qc_core.sweeps.figure import draw
from qc_core.sweeps.job import is_finished, read_points, run_job
from qc_core.sweeps.point import COLUMNS, SweepPoint, from_curve
from qc_core.training.pool import training_pool
from qc_core.worker_pool import WorkerKilled

RESULTS, FIGURE = "results.csv", "results.svg"
# Older releases wrote the second name.
_MANIFESTS = ("sweep.json", "study.json")
_EXTENSIBLE = ("recipes", "methods", "seeds")


def run_sweep(sweep: Sweep, folder: Path, workers: int) -> list[SweepPoint]:
    """Run everything that is not finished, and write `results.csv` and `results.svg`.

    Args:
        folder: a new folder, or the folder of the same sweep, which then resumes. The sweep may
            have more recipes, methods or seeds than before.
        workers: number of runs in parallel; they share the cores equally.

    Returns:
        The rows of the CSV.

    Raises:
        UsageError: the folder belongs to another sweep or cannot be written.
        RunError: some runs failed; all others finished.
    """
    _claim(sweep, folder)
    for recipe in sweep.recipes:
        data = folder / "data" / recipe
        if not data.exists():
            ingest(sweep.data_config(recipe), data)
    unfinished = [
        run
        for run in sweep.runs
        if not is_finished(sweep.config(run), folder / "runs" / run.folder)
    ]
    failures: list[tuple[str, Exception]] = []
    with training_pool(workers, fewer="--workers") as pool:
        futures = {pool.submit(partial(_train, sweep, folder), run): run for run in unfinished}
        for future in as_completed(futures):
            try:
                future.result()
            except WorkerKilled as killed:
                raise RunError(f"{killed}; the same command resumes") from killed
            except Exception as error:
                failures.append((f"{futures[future]}: {_reason(error)}", error))
                log.info(failures[-1][0])
            _collect(sweep, folder)
    if failures:
        message, first = failures[0]
        raise RunError(f"{len(failures)} of {len(futures)} runs failed; first {message}") from first
    return _collect(sweep, folder)


def _reason(error: Exception) -> str:
    if isinstance(error, QCError):
        return str(error)
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _claim(sweep: Sweep, folder: Path) -> None:
    """Write the manifest of a new folder, or check that of an existing one.

    A sweep may have more recipes, methods and seeds than before: its runs do not depend on each
    other.
    """
    manifests = [folder / name for name in _MANIFESTS if (folder / name).exists()]
    if not manifests:
        require_vacant(folder)
        documents.write(folder / _MANIFESTS[0], sweep.manifest)
        return
    stored = documents.read(manifests[0], Sweep)
    try:
        before, now = stored.manifest, sweep.manifest
    except UsageError as error:
        raise UsageError(f"{manifests[0]}: {error}") from error
    runs = {name: getattr(now, name) for name in _EXTENSIBLE}
    if msgspec.structs.replace(before, **runs) != now:
        raise UsageError(
            f"{folder} belongs to another sweep: choose another folder, or restore its settings"
        )
    for name in _EXTENSIBLE:
        if missing := [entry for entry in getattr(before, name) if entry not in runs[name]]:
            raise UsageError(
                f"{folder} belongs to a sweep that also has the {name} {_listed(missing)}: add "
                "them, or choose another folder"
            )
    require_writable(folder)
    if before != now:
        log.info(f"{folder} is extended to {len(now.runs)} runs, before {len(before.runs)}")
        documents.write(manifests[0], now)


def _listed(entries: Sequence[object]) -> str:
    return ", ".join(map(str, entries))


def _train(sweep: Sweep, folder: Path, run: SweepRun) -> None:
    def log_point(point: dict[str, float]) -> None:
        score = f"return {point['return']:.1f}"
        if point["reports-success"]:
            score = f"success {point['success']:.0%}"
        log.info(f"{run}: step {point['step']:,.0f}, {score}")

    # The dataset belongs to the recipe and does not depend on the run's seed.
    run_job(
        sweep.config(run),
        folder / "data" / run.recipe,
        folder / "runs" / run.folder,
        evaluate_every=sweep.evaluate_every,
        episodes=sweep.episodes,
        on_point=log_point,
    )


def _collect(sweep: Sweep, folder: Path) -> list[SweepPoint]:
    """Write CSV and figure from the newest checkpoint of every run."""
    points = [
        from_curve(
            point,
            recipe=run.recipe,
            environment=sweep.config(run).environment,
            method=run.method,
            seed=run.seed,
            episodes=sweep.episodes,
        )
        for run in sweep.runs
        for point in read_points(folder / "runs" / run.folder)
    ]
    with staged_file(folder / RESULTS) as staging, staging.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(point.row() for point in points)
    draw(sweep, points, folder / FIGURE)
    return points

"""Run a study: its runs side by side, one CSV, one figure."""

from __future__ import annotations

import csv
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

from qc_core.data.ingest import ingest
from qc_core.errors import QCError, RunError, UsageError
from qc_core.files import read_json, require_vacant, require_writable, staged_file, write_json
from qc_core.log import log
from qc_core.processes import WorkerKilled, worker_pool
from qc_core.sweeps.definition import Job, Study
from qc_core.sweeps.figure import draw
from qc_core.sweeps.job import is_finished, read_points, run_job
from qc_core.sweeps.summary import any_reports_success
from qc_core.training.device import take_threads, threads_per_worker

RESULTS, FIGURE = "results.csv", "results.svg"
_MANIFEST = "study.json"
_COLUMNS = (
    *("recipe", "environment", "method", "seed", "step"),
    *("success", "steps", "return", "episodes", "seconds", "success-told"),
)


def run_sweep(study: Study, folder: Path, workers: int) -> list[dict[str, Any]]:
    """Do what is not done yet, and write `results.csv` and `results.svg` from all there is.

    Args:
        folder: a new one, or that of the same study, which goes on.
        workers: runs side by side, each with its share of the cores.

    Returns:
        The rows of the CSV.

    Raises:
        UsageError: a folder of another study, or one that cannot be written.
        RunError: runs that failed; the others have come to their end.
    """
    _claim(study, folder)
    for recipe in study.recipes:
        data = folder / "data" / recipe
        if not data.exists():
            ingest(study.data_config(recipe), data)
    jobs = [
        job
        for job in study.jobs
        if not is_finished(study.config(job), folder / "runs" / job.folder)
    ]
    failures: list[tuple[str, Exception]] = []
    with worker_pool(workers, take_threads, threads_per_worker(workers)) as pool:
        futures = {pool.submit(partial(_work, study, folder), job): job for job in jobs}
        for future in as_completed(futures):
            try:
                future.result()
            except WorkerKilled:
                raise RunError(
                    "a run's process was killed, perhaps for want of memory: go on with fewer "
                    "--workers"
                ) from None
            except Exception as error:
                failures.append((f"{futures[future]}: {_reason(error)}", error))
                log.info(failures[-1][0])
            _collect(study, folder)
    if failures:
        told, first = failures[0]
        raise RunError(f"{len(failures)} of {len(futures)} runs failed; first {told}") from first
    return _collect(study, folder)


def _reason(error: Exception) -> str:
    if isinstance(error, QCError):
        return str(error)
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _claim(study: Study, folder: Path) -> None:
    manifest = folder / _MANIFEST
    if manifest.exists():
        if read_json(manifest) != study.as_mapping():
            raise UsageError(
                f"{folder} holds another study: choose another folder, or restore its settings"
            )
        require_writable(folder)
    else:
        require_vacant(folder)
        write_json(manifest, study.as_mapping())


def _work(study: Study, folder: Path, job: Job) -> None:
    def tell(point: dict[str, float]) -> None:
        shown = f"success {point['success']:.0%}"
        if not any_reports_success([point]):
            shown = f"return {point['return']:.1f}"
        log.info(f"{job}: step {point['step']:,.0f}, {shown}")

    # The data are the recipe's, whatever the run's seed.
    run_job(
        study.config(job),
        folder / "data" / job.recipe,
        folder / "runs" / job.folder,
        evaluate_every=study.evaluate_every,
        episodes=study.episodes,
        on_point=tell,
    )


def _collect(study: Study, folder: Path) -> list[dict[str, Any]]:
    """Write CSV and figure from the checkpoints that are there."""
    rows: list[dict[str, Any]] = []
    for job in study.jobs:
        points = read_points(folder / "runs" / job.folder)
        shared = {
            "recipe": job.recipe,
            "environment": study.config(job).environment,
            "method": job.method,
            "seed": job.seed,
            "episodes": study.episodes,
        }
        rows += [{**point, **shared} for point in points]
    with staged_file(folder / RESULTS) as staging, staging.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    draw(study, rows, folder / FIGURE)
    return rows

"""Runs the pipeline on this machine, without services, through `kfp.local`."""

from __future__ import annotations

import builtins
import contextlib
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.console import Console
from pipeline.run_log import RunLog
from qc_core.documents import read, to_json
from qc_core.errors import QCError, RunError, UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.events import EVENTS_VARIABLE
from qc_core.files import require_vacant, write_json
from qc_core.provenance import RUN_ID_VARIABLE
from qc_core.publish.promotion import Promotion
from qc_core.retraining.new_data import NewData
from qc_core.store.open import open_store
from qc_core.training.device import threads_per_worker
from qc_core.tuning.study import STORAGE_VARIABLE

# kfp.local runs at most this many iterations of a ParallelFor at once.
_LOCAL_PARALLELISM = 2
_STEPS = "steps"
# If a step refuses its input before this one has finished, the run folder has nothing of value.
_FIRST_VALUABLE_STEP = "ingest"


@dataclass(frozen=True, slots=True)
class UpToDate:
    """A retraining that found no new data.

    Attributes:
        text: the reason, in one line.
    """

    folder: Path
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "up-to-date": self.text}


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where a finished run is, and its results.

    Attributes:
        seconds: wall-clock time per step, and `all`.
    """

    folder: Path
    report: Path
    policy: Path
    evaluation: Evaluation
    promotion: Promotion
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "policy": str(self.policy),
            "evaluation": to_json(self.evaluation),
            "promotion": to_json(self.promotion),
            "seconds": self.seconds,
        }


def run_locally(
    recipe: str, overrides: Sequence[str], workers: int, folder: Path
) -> RunResult | UpToDate:
    """Run each step in its own process; write artifacts and log to `folder`.

    Args:
        recipe, overrides: as `qc_core.config.resolve.resolve` takes them.
        workers: tuning workers of the resolved configuration.

    Raises:
        UsageError: the folder is in use or not writable, or a step refused its input.
        RunError: a step failed.
    """
    require_vacant(folder)
    open_store().require_writable()
    existed = folder.exists()
    log = folder / "run.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log_file = log.open("w", buffering=1, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    start = time.monotonic()
    console = Console()
    try:
        with log_file, console:
            console.write(f"{recipe} in {folder}, complete output in {log}")
            _run(recipe, overrides, workers, folder, console.address, RunLog(log_file))
    except RuntimeError as error:
        # kfp.local reports only that some step failed.
        failure = _failure(console, log)
        if isinstance(failure, UsageError) and _FIRST_VALUABLE_STEP not in console.seconds:
            _clear(folder)
            if not existed:
                folder.rmdir()
        raise failure from error
    seconds = {**console.seconds, "all": time.monotonic() - start}
    steps = folder / _STEPS
    new_data = read(_output(steps, "ingest", "new_data"), NewData)
    if not new_data.new:
        up_to_date = UpToDate(folder, new_data.text)
        write_json(folder / "summary.json", up_to_date.as_dict())
        return up_to_date
    result = RunResult(
        folder=folder,
        report=folder / "report.html",
        policy=_output(steps, "export", "policy"),
        evaluation=read(_output(steps, "evaluate", "evaluation"), Evaluation),
        promotion=read(_output(steps, "promote", "promotion"), Promotion),
        seconds=seconds,
    )
    shutil.copyfile(_output(steps, "report", "page"), result.report)
    write_json(folder / "summary.json", result.as_dict())
    return result


def _clear(folder: Path) -> None:
    """Delete the contents of a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _run(
    recipe: str,
    overrides: Sequence[str],
    workers: int,
    folder: Path,
    events_address: str,
    log: RunLog,
) -> None:
    """Run the pipeline with `kfp.local` (RuntimeError: a step failed)."""
    from kfp import local

    from pipeline.definition import make_pipeline

    pipeline = make_pipeline()
    _remove_retries(pipeline.pipeline_spec)

    # For each step, kfp warns that the image may lack Python and that it ignores resource requests.
    for category in (RuntimeWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module="kfp")
    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str((folder / _STEPS).resolve())
    )
    threads = threads_per_worker(min(workers, _LOCAL_PARALLELISM))
    journal = (folder / "study.journal").resolve()
    steps_environment = {
        EVENTS_VARIABLE: events_address,
        RUN_ID_VARIABLE: folder.resolve().name,
        # A journal file in the run folder, unless the environment names a database.
        STORAGE_VARIABLE: os.environ.get(STORAGE_VARIABLE) or str(journal),
        "QC_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # The steps import the same packages as this interpreter.
        "PYTHONPATH": os.pathsep.join([entry for entry in sys.path if entry]),
    }
    with (
        _environment(steps_environment),
        _print_restored(),
        contextlib.redirect_stdout(log),
    ):
        pipeline(recipe=recipe, overrides=shlex.join(overrides))


def _output(steps: Path, step: str, name: str) -> Path:
    """Return the path of a step's output; kfp returns no outputs from inside an exit handler."""
    (path,) = steps.glob(f"*/{step}/{name}")
    return path


def _remove_retries(specification: Any) -> None:
    """Remove the steps' retries: they help on a lost node, and would repeat a local failure."""
    for component in (specification.root, *specification.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")


def _failure(console: Console, log: Path) -> QCError:
    """Return the error of the step that failed."""
    failed = console.failure
    if failed is not None and failed.exit_code == UsageError.exit_code:
        return UsageError(failed.message)
    if failed is not None:
        return RunError(f"step {failed.step} failed: {failed.message}; its output is in {log}")
    if console.unfinished:
        return RunError(
            f"step {console.unfinished[0]} failed: its process ended without an error message, "
            f"perhaps killed for lack of memory; its output is in {log}"
        )
    return RunError(f"a step failed before its work started; its output is in {log}")


@contextlib.contextmanager
def _print_restored() -> Iterator[None]:
    """Restore `print` afterwards: kfp leaves it indented if parallel steps overlap."""
    before = builtins.print
    try:
        yield
    finally:
        builtins.print = before


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set environment variables, which the steps inherit, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Run the pipeline on this machine, without services, through `kfp.local`."""

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
from qc_core.documents import read, to_json
from qc_core.errors import QCError, RunError, UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.files import require_vacant, write_json
from qc_core.progress import EVENTS_VARIABLE
from qc_core.provenance import RUN_VARIABLE
from qc_core.publish.promotion import Promotion
from qc_core.retraining.new_data import NewData
from qc_core.store.open import open_store
from qc_core.training.device import threads_per_worker
from qc_core.tuning.study import STORAGE_VARIABLE

# kfp.local runs no more of a ParallelFor at once.
_LOCAL_PARALLELISM = 2
_STEPS = "steps"
# A run that is refused before this step is done has made nothing.
_WORTH_KEEPING = {"ingest"}


@dataclass(frozen=True, slots=True)
class UpToDate:
    """A retraining that had nothing to learn.

    Attributes:
        text: what it has found, in one line.
    """

    folder: Path
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "nothing-new": self.text}


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where a finished run is and what came out.

    Attributes:
        seconds: time per step.
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
    """Run every step in a process of its own, artifacts and log below `folder`.

    Args:
        recipe, overrides: as `qc_core.config.resolve.resolve` takes them.
        workers: tuning workers of the resolved configuration.

    Raises:
        UsageError: the folder is in use or cannot be written, or a step says so.
        RunError: a step failed; the message is the step's own.
    """
    require_vacant(folder)
    open_store().require_writable()
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "run.log").open("w", buffering=1, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    start = time.monotonic()
    with log, contextlib.closing(Console(log)) as console:
        console.say(f"{recipe} in {folder}, everything it prints in {folder / 'run.log'}")
        try:
            _run(recipe, overrides, workers, folder, console)
        except UsageError:
            if not _WORTH_KEEPING & console.seconds.keys():
                _clear(folder)
                if not existed:
                    folder.rmdir()
            raise
        seconds = {**console.seconds, "all": time.monotonic() - start}
    steps = folder / _STEPS
    found = read(_output(steps, "ingest", "news"), NewData)
    if not found.new:
        nothing = UpToDate(folder, found.text)
        write_json(folder / "summary.json", nothing.as_dict())
        return nothing
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
    """Remove what is in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _run(
    recipe: str, overrides: Sequence[str], workers: int, folder: Path, console: Console
) -> None:
    from kfp import local

    from pipeline.definition import q_chunking

    pipeline: Any = q_chunking
    _without_retries(pipeline.pipeline_spec)

    # For every step, kfp remarks that the image's name says nothing about Python, and that what
    # pods are given means nothing here.
    for category in (RuntimeWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module="kfp")
    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str((folder / _STEPS).resolve())
    )
    threads = threads_per_worker(min(workers, _LOCAL_PARALLELISM))
    journal = (folder / "study.journal").resolve()
    steps_environment = {
        EVENTS_VARIABLE: "1",
        RUN_VARIABLE: folder.resolve().name,
        # A journal beside the run, unless the environment names a database.
        STORAGE_VARIABLE: os.environ.get(STORAGE_VARIABLE) or str(journal),
        "QC_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # The steps import the packages of this interpreter, wherever it found them.
        "PYTHONPATH": os.pathsep.join([entry for entry in sys.path if entry]),
    }
    with (
        _environment(steps_environment),
        _print_restored(),
        contextlib.redirect_stdout(console),
    ):
        try:
            pipeline(recipe=recipe, overrides=shlex.join(overrides))
        except RuntimeError as error:
            raise _failure(console, folder) from error


def _output(steps: Path, step: str, name: str) -> Path:
    """What a step wrote; kfp hands nothing out of steps behind which one always runs."""
    (path,) = steps.glob(f"*/{step}/{name}")
    return path


def _without_retries(specification: Any) -> None:
    """A pod may lose its node; here, what failed once would fail again, after minutes."""
    for component in (specification.root, *specification.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")


def _failure(console: Console, folder: Path) -> QCError:
    """What the failed step said, for `kfp.local` only says that it failed."""
    if console.error is None:
        cause = console.exception or "its process ended without a word"
        return RunError(f"a step failed: {cause} ({folder / 'run.log'} has its output)")
    message, code = console.error
    return UsageError(message) if code == UsageError.exit_code else RunError(message)


@contextlib.contextmanager
def _print_restored() -> Iterator[None]:
    """kfp leaves `print` indented for good when parallel steps end in another order."""
    before = builtins.print
    try:
        yield
    finally:
        builtins.print = before


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
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

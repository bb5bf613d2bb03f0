"""Runs the pipeline on this machine, without services, through `kfp.local`."""

from __future__ import annotations

import builtins
import contextlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.console import Console
from pipeline.inputs import recipe_inputs
from pipeline.placement import STEPS as PIPELINE_STEPS
from pipeline.run_folder import (
    CACHE,
    JOURNAL,
    LOG,
    RUN,
    STEPS,
    SUMMARY,
    LocalRun,
    clear,
    copy_study,
    default_folder,
    finished_steps,
    request_of,
    start_or_resume,
)
from pipeline.run_log import RunLog
from qc_core import interruption
from qc_core.config.resources import PROCESSES
from qc_core.config.settings import Config
from qc_core.cores import threads_per_worker
from qc_core.documents import read, to_json, write
from qc_core.errors import QCError, RunError, UsageError
from qc_core.evaluation.result import Evaluation
from qc_core.events import EVENTS_VARIABLE
from qc_core.files import require_vacant, write_atomically, write_json
from qc_core.log import QUIET_VARIABLE, log
from qc_core.notify.verdict import verdict, verdict_without_training
from qc_core.processes import memory_remedy
from qc_core.provenance import RUN_ID_VARIABLE
from qc_core.publish.promotion import Promotion
from qc_core.results.run_record import study_of
from qc_core.retraining.new_data import NewData
from qc_core.scratch import exclusive
from qc_core.store.open import open_store
from qc_core.tracking.open import FOLDER_VARIABLE
from qc_core.tuning.queue import end_interrupted
from qc_core.tuning.study import STORAGE_VARIABLE, answering, load_study
from qc_core.tuning.trials import read_history

# kfp.local runs at most this many iterations of a ParallelFor at once.
_LOCAL_PARALLELISM = 2
# KFP's placeholders of a run's id and name; importing them would import kfp.
JOB_ID, JOB_NAME = "{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}"
SCRATCH, METRICS = "tmp", "metrics"
# Times that steps whose processes are killed are started again, in one command.
_MAX_RESTARTS = 2
# If a step refuses its input before this one has finished, the run folder has nothing of value.
_FIRST_VALUABLE_STEP = "ingest"


@dataclass(frozen=True, slots=True)
class UpToDate:
    """A retraining that found no new data.

    Attributes:
        verdict: the reason, in one sentence.
    """

    folder: Path
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "up-to-date": self.verdict}


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where a finished run is, and its results.

    Attributes:
        verdict: the result in one sentence.
        seconds: wall-clock time per step, and `all`.
    """

    folder: Path
    report: Path
    policy: Path
    evaluation: Evaluation
    promotion: Promotion
    verdict: str
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "policy": str(self.policy),
            "evaluation": to_json(self.evaluation),
            "promotion": to_json(self.promotion),
            "verdict": self.verdict,
            "seconds": self.seconds,
        }


def run_locally(
    recipe: str,
    overrides: Sequence[str],
    config: Config,
    folder: Path | None = None,
    *,
    fresh: bool = False,
    earlier: Path | None = None,
) -> RunResult | UpToDate:
    """Run each step in its own process; write artifacts and log to a folder.

    If the run is interrupted, the same call resumes it: finished steps are not repeated, and
    trainings resume from their checkpoints. A step whose process is killed is started again.

    Args:
        recipe, overrides: as `qc_core.config.resolve.resolve` takes them.
        config: the configuration that they resolve to.
        folder: the run folder; None chooses one as `default_folder`.
        fresh: start over instead of resuming.
        earlier: folder of a run with the same options, whose finished results are taken over.

    Raises:
        UsageError: the folder is in use or not writable, or a step refused its input.
        RunError: a step failed.
    """
    if folder and not any((folder / name).exists() for name in (RUN, LOG)):
        # Nothing is made for a run that is refused.
        require_vacant(folder)
    store = open_store()
    store.require_writable()
    request = request_of(config, store.describe(), earlier)
    try:
        folder = folder or default_folder(request, config.policy_name, fresh=fresh)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    with exclusive(folder, "this run"):
        run = start_or_resume(folder, request, fresh=fresh)
        if (folder / SUMMARY).exists():
            log.info(f"{folder} is the result of this command: --fresh starts over")
        else:
            if earlier is not None:
                copy_study(earlier, folder)
            run = _run_attempts(recipe, overrides, config, folder, run)
            _remove(folder / SCRATCH)
        return _result(folder, run)


def _run_attempts(
    recipe: str, overrides: Sequence[str], config: Config, folder: Path, run: LocalRun
) -> LocalRun:
    """Run the steps that have not finished; start them again if the process of one is killed."""
    _end_interrupted_trials(folder, study_of(open_store(), run.continues or run.run_id))
    restarts = _MAX_RESTARTS
    while True:
        run, failure = _run_attempt(recipe, overrides, config, folder, run)
        if failure is None:
            return run
        if not isinstance(failure, _StepKilled) or not restarts:
            raise failure
        restarts -= 1
        log.info(f"{failure}; it is started again and resumes")


def _run_attempt(
    recipe: str, overrides: Sequence[str], config: Config, folder: Path, run: LocalRun
) -> tuple[LocalRun, QCError | None]:
    """Run the steps that have not finished; return the times so far, and the error of a step."""
    path = folder / LOG
    start, failure = time.monotonic(), None
    console = Console()
    finished = finished_steps(folder)
    with path.open("a", buffering=1, encoding="utf-8") as file, console:
        console.write(f"{recipe} in {folder}, complete output in {path}")
        if finished:
            console.write(f"resuming after {', '.join(finished)}")
        try:
            with interruption.before(console.interrupt_steps):
                pipeline = partial(_run, recipe, overrides, config.tune.workers)
                pipeline(folder, run, console.address, RunLog(file))
        except RuntimeError:
            # kfp.local reports only that some step failed.
            failure = failure_of(console, folder)
        finally:
            seconds = dict(run.seconds)
            for step, spent in {**console.seconds, "all": time.monotonic() - start}.items():
                seconds[step] = seconds.get(step, 0.0) + spent
            run = msgspec.structs.replace(run, seconds=seconds)
            write(folder / RUN, run)
    if isinstance(failure, UsageError) and _FIRST_VALUABLE_STEP not in run.seconds:
        # Another command may use the folder.
        clear(folder)
    return run, failure


def _result(folder: Path, run: LocalRun) -> RunResult | UpToDate:
    """Collect the results of a finished run, and write `summary.json`."""
    steps = folder / STEPS
    new_data = read(_output(steps, "ingest", "new_data"), NewData)
    if not new_data.new:
        result: RunResult | UpToDate = UpToDate(folder, verdict_without_training(new_data))
    else:
        evaluation = read(_output(steps, "evaluate", "evaluation"), Evaluation)
        promotion = read(_output(steps, "promote", "promotion"), Promotion)
        history = read_history(_output(steps, "select", "history"))
        result = RunResult(
            folder=folder,
            report=folder / "report.html",
            policy=_output(steps, "export", "policy"),
            evaluation=evaluation,
            promotion=promotion,
            verdict=verdict(evaluation, history, promotion),
            # A document on disk has its keys in alphabetical order.
            seconds={
                step: run.seconds[step] for step in (*PIPELINE_STEPS, "all") if step in run.seconds
            },
        )
        write_atomically(result.report, _output(steps, "report", "report").read_bytes())
    write_json(folder / SUMMARY, result.as_dict())
    return result


def _end_interrupted_trials(folder: Path, study: str) -> None:
    """Let trials that were running when the run was interrupted resume without counting a loss."""
    if (folder / JOURNAL).exists():
        # There is no study if the run was interrupted while it was being created.
        with contextlib.suppress(RunError), answering():
            end_interrupted(load_study(study, _study_storage(folder)))


def _study_storage(folder: Path) -> str:
    """Return a journal file in the run folder, unless the environment names a database."""
    return os.environ.get(STORAGE_VARIABLE) or str((folder / JOURNAL).resolve())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(
    recipe: str,
    overrides: Sequence[str],
    workers: int,
    folder: Path,
    run: LocalRun,
    events_address: str,
    run_log: RunLog,
) -> None:
    """Run the unfinished steps with `kfp.local` (RuntimeError: a step failed)."""
    from kfp import local

    from pipeline.definition import make_pipeline

    pipeline = make_pipeline()
    _adapt(pipeline.pipeline_spec, {JOB_ID: run.run_id, JOB_NAME: folder.resolve().name})

    # For each step, kfp warns that the image may lack Python and that it ignores resource requests.
    for category in (RuntimeWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module="kfp")
    scratch = (folder / SCRATCH).resolve()
    _remove(scratch)
    scratch.mkdir()
    steps = (folder / STEPS).resolve()
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(steps),
        workspace_root=str(scratch / "workspace"),
        enable_caching=True,
        cache_root=str(steps / CACHE),
    )
    threads = threads_per_worker(min(workers, _LOCAL_PARALLELISM))
    steps_environment = {
        EVENTS_VARIABLE: events_address,
        RUN_ID_VARIABLE: run.run_id,
        FOLDER_VARIABLE: str((folder / METRICS).resolve()),
        STORAGE_VARIABLE: _study_storage(folder),
        # What killed steps leave is removed with this folder.
        "TMPDIR": str(scratch),
        "QC_THREADS": str(threads),
        # The log of the run has all messages, also with --quiet.
        QUIET_VARIABLE: "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # The steps import the same packages as this interpreter.
        "PYTHONPATH": os.pathsep.join([entry for entry in sys.path if entry]),
    }
    with (
        _environment(steps_environment),
        _print_restored(),
        contextlib.redirect_stdout(run_log),
    ):
        pipeline(**recipe_inputs(recipe, overrides), continue_run=run.continues)


def _output(steps: Path, step: str, name: str) -> Path:
    """Return the path of a step's output; kfp returns no outputs from inside an exit handler."""
    (path,) = steps.glob(f"*/{step}/{name}")
    return path


class _StepKilled(RunError):
    """The process of a step ended without an error message."""


def _adapt(specification: Any, values: dict[str, str]) -> None:
    """Remove the steps' retries, let finished steps not run again, and adapt conditions.

    Retries help on a lost node, and would repeat a local failure. The status of the run is reported
    at each end. In a condition, `kfp.local` finds an output with a name of its own only as
    TASK--OUTPUT.

    Args:
        values: of KFP's placeholders, which are otherwise different in each process that resumes.
    """
    for component in (specification.root, *specification.components.values()):
        for name, task in component.dag.tasks.items():
            task.ClearField("retry_policy")
            task.caching_options.enable_cache = name != "outcome"
            for key, parameter in task.inputs.parameters.items():
                constant = parameter.runtime_value.constant
                if constant.string_value in values:
                    constant.string_value = values[constant.string_value]
                source, policy = parameter.task_output_parameter, task.trigger_policy
                if source.producer_task and policy.condition:
                    found = f"{source.producer_task}--{source.output_parameter_key}"
                    policy.condition = policy.condition.replace(key, f"pipelinechannel--{found}")


def failure_of(console: Console, folder: Path) -> QCError:
    """Return the error of the step that failed."""
    failed, path = console.failure, folder / LOG
    if failed is not None and failed.exit_code == UsageError.exit_code:
        return UsageError(failed.message)
    if failed is not None:
        return RunError(f"step {failed.step} failed: {failed.message}; its output is in {path}")
    if console.unfinished:
        step = console.unfinished[0]
        remedy = memory_remedy()
        if option := PROCESSES.get(step):
            remedy = f"{memory_remedy(option)} and give --continue {folder}"
        return _StepKilled(
            f"step {step} failed: its process was killed, usually because memory ran out: {remedy}"
            f"; its output is in {path}"
        )
    return RunError(f"a step failed before its work started; its output is in {path}")


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

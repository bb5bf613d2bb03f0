"""Opens the metrics of a training: which sinks the environment asks for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qc_core import provenance
from qc_core.config.differences import options_of
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.interruption import Interrupted
from qc_core.log import log
from qc_core.scratch import scratch_folder
from qc_core.tracking.event_files import EventFiles
from qc_core.tracking.metrics import Metrics, Sink
from qc_core.tracking.sender import DEFAULT_PATIENCE, Sender
from qc_core.tracking.store_copy import StoreCopy, metrics_prefix

FOLDER_VARIABLE = "QC_METRICS_FOLDER"


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The run that trainings belong to.

    Attributes:
        run_id: id in the store and in trackers; None for a training without a run.
        title: for people.
        folder: of the event files; None uses the store, for a run whose machines are temporary.
    """

    run_id: str | None
    title: str
    folder: Path | None


def pipeline_run(run_id: str) -> TrackedRun:
    """Return the run of a pipeline's step: on one machine, `qc run` sets the folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    title = provenance.run_id() or run_id
    return TrackedRun(run_id, title, Path(folder) if folder else None)


def run_of(output: Path, run_id: str | None = None) -> TrackedRun:
    """Return the run of a command whose event files lie next to its output."""
    output = output.resolve()
    return TrackedRun(run_id, output.name, output.with_name(f"{output.name}.metrics"))


@contextmanager
def open_metrics(
    run: TrackedRun,
    name: str,
    config: Config,
    parameters: Mapping[str, Any] | None = None,
    first_step: int = 0,
) -> Iterator[Metrics]:
    """Open the metrics of one training: TensorBoard files, and the trackers of the environment.

    Args:
        name: of the training, and of its folder.
        config: of the run.
        parameters: in which the training differs from other ones of the run.
        first_step: added to the training's step.
    """
    with contextlib.ExitStack() as opened:
        folder = run.folder or opened.enter_context(scratch_folder("metrics"))
        sinks: list[Sink] = [EventFiles(folder / name)]
        if run.folder is None and run.run_id is not None:
            sinks.append(StoreCopy(folder / name, f"{metrics_prefix(run.run_id)}{name}/"))
        start = start_message(run, name, config, parameters or {}, folder)
        sinks += open_trackers(start)
        metrics = Metrics(sinks, first_step)
        state = "failed"
        try:
            yield metrics
            state = "finished"
        except Interrupted:
            state = "stopped"
            raise
        finally:
            metrics.close(state)


def end_failed_run(run_id: str) -> None:
    """Mark a run on this machine as failed in MLflow; KFP ends the runs that it has created."""
    run = pipeline_run(run_id)
    if run.folder is not None and not os.environ.get("MLFLOW_RUN_ID"):
        for sender in open_trackers(start_message(run, None, None, {}, run.folder)):
            sender.close("failed")


def start_message(
    run: TrackedRun,
    name: str | None,
    config: Config | None,
    parameters: Mapping[str, Any],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what trackers are sent first."""
    return {
        "run": run.run_id,
        "title": run.title,
        "name": name,
        "options": options_of(to_mapping(config)) if config is not None else {},
        "parameters": dict(parameters),
        "folder": folder and str(folder),
    }


def open_trackers(start: Mapping[str, Any], patience: float = DEFAULT_PATIENCE) -> list[Sender]:
    """Start a sender for each tracker that the environment configures."""
    environment = os.environ
    wanted = {
        "mlflow": (environment.get("MLFLOW_TRACKING_URI"), "MLFLOW_TRACKING_URI"),
        "wandb": (
            environment.get("WANDB_API_KEY") or environment.get("WANDB_MODE") == "offline",
            "WANDB_API_KEY",
        ),
    }
    senders = []
    for tracker, (is_wanted, variable) in wanted.items():
        if not is_wanted:
            continue
        if find_spec(tracker) is None:
            log.warning(
                f"{variable} is set, but {tracker} is not installed: pip install "
                f"'q-chunking[{tracker}]'"
            )
            continue
        senders.append(Sender(tracker, {"tracker": tracker, **start}, patience))
    return senders

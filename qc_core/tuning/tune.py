"""Runs a complete study on this machine, without a pipeline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any

from qc_core import documents
from qc_core.config.differences import changed_options
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.files import require_new_file, require_vacant
from qc_core.log import log
from qc_core.scratch import exclusive, scratch_folder
from qc_core.timestamps import new_stamp
from qc_core.tracking.open import TrackedRun, run_of
from qc_core.training.checkpoint import DOCUMENT, read_checkpoint, weights_digest
from qc_core.training.pool import training_pool
from qc_core.tuning.queue import end_interrupted
from qc_core.tuning.select import select_best
from qc_core.tuning.study import STORAGE_VARIABLE, answering, create_study, load_study
from qc_core.tuning.trials import StudyRequest, has_running, read_history
from qc_core.tuning.worker import run_worker
from qc_core.worker_pool import WorkerKilled


class LocalStudy(Document, frozen=True, kw_only=True):
    """`OUTPUT.study/study.json`: a study that has not ended, so that the same command resumes it.

    Attributes:
        name: of the study in its storage.
    """

    name: str
    request: StudyRequest
    schema_version: int = 1


def tune(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    output: Path,
    history: Path,
    *,
    fresh: bool = False,
) -> None:
    """Run `config.tune.workers` worker processes and write the best trial's checkpoint.

    The study is in `QC_STUDY_STORAGE` if that is set, else in `OUTPUT.study`. If it is interrupted,
    the same call resumes it: trials that have ended are retained, and the others resume from their
    last checkpoints. A worker whose process is killed is started again.

    Args:
        checkpoint: checkpoint folder of the offline phase.
        output: folder for the best trial's checkpoint.
        history: file for the results of all trials.
        fresh: delete the outputs and the study of an earlier call, and start over.

    Raises:
        UsageError: an output is in use, checkpoint and dataset do not fit, or the interrupted
            study had other options or inputs.
        RunError: no trial is complete.
    """
    place = output.resolve()
    if history.resolve() in (place, *place.parents):
        raise UsageError(
            f"--history {history} is the same place as the output {output}: choose another file"
        )
    if not output.exists():
        require_vacant(output, staged=True)
    if not history.is_file():
        require_new_file(history)
    if not config.tune.trials:
        raise UsageError("--tune.trials is 0: there is nothing to tune")
    folder = place.with_name(f"{place.name}.study")
    dataset_digest = open_dataset(dataset).digest
    read_checkpoint(checkpoint)
    request = StudyRequest(
        config=documents.plain(to_mapping(config)),
        weights=weights_digest(checkpoint),
        dataset_digest=dataset_digest,
    )
    if fresh:
        _delete(place, history, folder)
    if _is_complete(request, place, history):
        log.info(f"{output} is the result of this command: delete it or give --fresh to start over")
        shutil.rmtree(folder, ignore_errors=True)
        return
    resumes = folder.exists()
    require_vacant(output, staged=True)
    if not resumes:
        require_new_file(history)
        folder.mkdir()
    with exclusive(folder, "this study"):
        study = _open(folder, request)
        storage = os.environ.get(STORAGE_VARIABLE) or str(folder / "study.journal")
        create_study(study.name, storage, config)
        if resumes:
            with answering():
                end_interrupted(load_study(study.name, storage))
            log.info(f"resuming the study in {folder}")
        tracked = run_of(place, study.name)
        _run_workers(config, checkpoint, dataset, study.name, storage, tracked)
        select_best(config, checkpoint, study.name, storage, output, history, request=request)
        shutil.rmtree(folder)


def _open(folder: Path, request: StudyRequest) -> LocalStudy:
    """Write the study of a new folder, or check that the folder's study is the requested one."""
    path = folder / "study.json"
    if not path.exists():
        study = LocalStudy(name=f"tune-{new_stamp()}", request=request)
        documents.write(path, study)
        return study
    study = documents.read(path, LocalStudy)
    if study.request == request:
        return study
    changed = changed_options(study.request.config, request.config)
    was = f"was started with {', '.join(changed)}"
    if not changed:
        was = "was started from another checkpoint or on another dataset"
    raise UsageError(f"{folder} {was}: give the same to resume, or --fresh to start over")


def _is_complete(request: StudyRequest, output: Path, history: Path) -> bool:
    """Return whether the outputs are those of an earlier call with the same arguments."""
    return (
        (output / DOCUMENT).exists()
        and history.exists()
        and (read_history(history).request == request)
    )


def _delete(output: Path, history: Path, folder: Path) -> None:
    """Delete what an earlier call has written (UsageError: an output is something else)."""
    if output.exists() and not (output / DOCUMENT).exists():
        raise UsageError(f"{output} is not a checkpoint folder: --fresh does not delete it")
    if history.exists():
        read_history(history)
    if folder.exists() and not (folder / "study.json").exists():
        raise UsageError(f"{folder} is not a study: --fresh does not delete it")
    for path in (output, folder):
        shutil.rmtree(path, ignore_errors=True)
    history.unlink(missing_ok=True)


def _run_workers(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    study_name: str,
    storage: str,
    tracked: TrackedRun,
) -> None:
    """Run all workers to their end; a killed one is started again while trials can resume."""
    workers = min(config.tune.workers, config.tune.trials)
    run: Callable[..., Any] = partial(
        run_worker,
        config,
        checkpoint,
        dataset,
        study_name=study_name,
        storage=storage,
        tracked=tracked,
    )
    with (
        scratch_folder("tune") as scratch,
        training_pool(workers, fewer="--tune.workers", replace_killed=True) as pool,
    ):

        def start(worker: int) -> Future[Any]:
            return pool.submit(run, scratch / f"worker-{worker}.json", worker=worker)

        running = {start(worker): worker for worker in range(workers)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                worker = running.pop(future)
                try:
                    future.result()
                except WorkerKilled as error:
                    with answering():
                        if not has_running(load_study(study_name, storage), worker):
                            # It would not get further.
                            raise
                    log.info(f"worker {worker} is started again: {error}")
                    running[start(worker)] = worker

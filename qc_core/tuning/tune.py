"""Runs a complete study on this machine, without a pipeline."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.files import require_new_file, require_vacant
from qc_core.processes import worker_pool
from qc_core.training.device import take_threads, threads_per_worker
from qc_core.tuning.select import select_best
from qc_core.tuning.study import STORAGE_VARIABLE, create_study
from qc_core.tuning.worker import run_worker


def tune(config: Config, checkpoint: Path, dataset: Path, output: Path, history: Path) -> None:
    """Run `config.tune.workers` worker processes and write the best trial's checkpoint.

    The study is in `QC_STUDY_STORAGE` if that is set, else in a temporary file.

    Args:
        checkpoint: checkpoint folder of the offline phase.
        output: folder for the best trial's checkpoint.
        history: file for the results of all trials.

    Raises:
        UsageError: an output is in use, or checkpoint and data set do not fit.
        RunError: no trial is complete.
    """
    require_vacant(output, staged=True)
    require_new_file(history)
    place = output.resolve()
    if history.resolve() in (place, *place.parents):
        raise UsageError(
            f"--history {history} is the same place as the output {output}: choose another file"
        )
    workers = min(config.tune.workers, config.tune.trials)
    if not workers:
        raise UsageError("--tune.trials is 0: there is nothing to tune")
    with tempfile.TemporaryDirectory(prefix="qc-tune-") as scratch:
        storage = os.environ.get(STORAGE_VARIABLE) or f"{scratch}/study.journal"
        # Other studies may share the storage.
        name = Path(scratch).name
        create_study(name, storage, config)
        run = partial(run_worker, config, checkpoint, dataset, study_name=name, storage=storage)
        with worker_pool(workers, take_threads, threads_per_worker(workers)) as pool:
            futures = [
                pool.submit(run, Path(scratch) / f"worker-{worker}.json", worker=worker)
                for worker in range(workers)
            ]
            for future in futures:
                future.result()
        select_best(name, storage, output, history)

"""Several workers on a real database and object store, one of which dies or is suspended."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from optuna.trial import TrialState

from qc_core.config.settings import Config
from qc_core.log import configure_logging
from qc_core.store.open import open_store
from qc_core.training.checkpoint import Checkpoint, read_checkpoint, weights_digest
from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.pretrain import pretrain
from qc_core.tuning.select import select_best
from qc_core.tuning.slots import attempts_by_slot
from qc_core.tuning.study import Heartbeat, create_study, load_study
from qc_core.tuning.trial_results import get_result
from qc_core.tuning.trials import read_history, read_trials, read_worker_trials
from qc_core.tuning.worker import run_worker
from tests.qc_core.tuning.conftest import PASSWORD, PostgreSQL

HEARTBEAT = Heartbeat(interval=1, grace=5)
STOP_AT = 6
# A test fails after this many seconds.
TIMEOUT = 120


def work(folder: Path, config: Config, dataset: Path, worker: int, stop: str) -> None:
    """One worker in a process of its own.

    Args:
        stop: "sleep" or "hang" after the checkpoint at step `STOP_AT` of trial 1; "" to continue.
    """
    # A killed process leaves its temporary files.
    tempfile.tempdir = str(folder)
    sys.stderr = (folder / f"worker-{worker}.log").open("w", buffering=1)
    configure_logging()
    try_save = CheckpointStore.try_save

    def save_and_stop(self: CheckpointStore, agent, checkpoint: Checkpoint, *rest) -> None:
        try_save(self, agent, checkpoint, *rest)
        if self.name == "trial 1" and checkpoint.online_steps == STOP_AT:
            (folder / "stopped").touch()
            if stop == "hang":
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                time.sleep(TIMEOUT)

    if stop:
        patch = pytest.MonkeyPatch()
        patch.setattr(CheckpointStore, "try_save", save_and_stop)
        # Save after each step, not about once a minute.
        patch.setattr(CheckpointSchedule, "due", True)
    run(folder, config, dataset, worker)


def run(folder: Path, config: Config, dataset: Path, worker: int) -> None:
    run_worker(
        config,
        folder / "offline",
        dataset,
        folder / f"worker-{worker}.json",
        study_name=folder.name,
        storage="",
        worker=worker,
        heartbeat=HEARTBEAT,
    )


@pytest.fixture
def three_trials(pendulum_config: Config) -> Config:
    return replace(pendulum_config, tune=replace(pendulum_config.tune, trials=3))


@pytest.fixture
def study(
    tmp_path: Path, three_trials: Config, pendulum: Path, s3_store: str, database: PostgreSQL
) -> Iterator[Callable[..., BaseProcess]]:
    """A study of three trials; call it to start a worker."""
    pretrain(three_trials, pendulum, tmp_path / "offline")
    create_study(tmp_path.name, "", three_trials)
    started: list[BaseProcess] = []

    def start(worker: int, stop: str = "") -> BaseProcess:
        arguments = tmp_path, three_trials, pendulum, worker, stop
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def wait_for(there: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


def log(folder: Path, worker: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / f"worker-{worker}.log").read_text()
    return ""


def test_a_killed_worker_loses_no_trial_and_none_runs_twice(
    tmp_path: Path, study: Callable[..., BaseProcess], three_trials: Config
) -> None:
    dies = study(1, "sleep")
    wait_for((tmp_path / "stopped").exists)
    survives = study(2)
    # It has finished the last trial, and waits for the other worker.
    wait_for(
        lambda: "worker 2 has no trial left and waits for trial 1 (worker 1)" in log(tmp_path, 2)
    )
    dies.kill()
    survives.join(TIMEOUT)
    assert survives.exitcode == 0, log(tmp_path, 2)

    name = tmp_path.name
    slots = attempts_by_slot(load_study(name, "").trials)
    states = [[attempt.state for attempt in attempts] for attempts in slots.values()]
    done, lost = [TrialState.COMPLETE], [TrialState.FAIL, TrialState.COMPLETE]
    assert states == [done, lost, done]
    trials = read_trials(load_study(name, ""))
    assert [trial.worker for trial in trials] == [1, 2, 2]
    assert all(trial.scores[-1].online_step == 12 for trial in trials)
    assert read_worker_trials(tmp_path / "worker-2.json") == trials[1:]
    assert f"trial 1 resumes from step {STOP_AT}" in log(tmp_path, 2)
    assert PASSWORD not in log(tmp_path, 1) + log(tmp_path, 2)
    assert "Warning" not in log(tmp_path, 2)

    store = open_store()
    for trial in trials:
        target = tmp_path / f"result-{trial.trial}"
        get_result(store, name, trial.trial, trial.optuna_trial, target)
        assert read_checkpoint(target).online_steps == 12
        drawn = read_checkpoint(target).config.train.online_learning_rate
        assert drawn == trial.parameters["online_learning_rate"]
    # A repeated selection has the same result, though the other checkpoints are removed.
    for again in ("a", "b"):
        places = tmp_path / again, tmp_path / f"{again}.json"
        select_best(three_trials, tmp_path / "offline", name, "", *places)
        history = read_history(tmp_path / f"{again}.json")
        assert history.trials == trials
        best = tmp_path / f"result-{history.best_trial}"
        assert weights_digest(tmp_path / again) == weights_digest(best)
        stored = {key.split("/")[2] for key in store.keys(f"studies/{name}/")}
        assert stored == {f"trial-{history.best_trial}", "selection.json"}


def test_a_suspended_worker_discards_a_reassigned_trial(
    tmp_path: Path, study: Callable[..., BaseProcess], three_trials: Config, pendulum: Path
) -> None:
    sleeps = study(1, "hang")
    wait_for((tmp_path / "stopped").exists)
    run(tmp_path, three_trials, pendulum, worker=2)
    before = read_trials(load_study(tmp_path.name, ""))
    assert [trial.state for trial in before] == ["complete"] * 3
    assert sleeps.pid is not None
    os.kill(sleeps.pid, signal.SIGCONT)
    sleeps.join(TIMEOUT)
    assert sleeps.exitcode == 0, log(tmp_path, 1)
    assert "was reassigned after this worker missed its heartbeats" in log(tmp_path, 1)
    assert read_trials(load_study(tmp_path.name, "")) == before
    assert [trial.trial for trial in read_worker_trials(tmp_path / "worker-1.json")] == [0]

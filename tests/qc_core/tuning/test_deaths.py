"""Several workers on a real database and a real object store, one of which dies or sleeps."""

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
from qc_core.files import read_json
from qc_core.store.open import open_store
from qc_core.training.checkpoint import CheckpointInfo, read_info, weights_digest
from qc_core.training.checkpoint_store import CheckpointSchedule
from qc_core.training.pretrain import pretrain
from qc_core.tuning.checkpointing import TrialCheckpointStore, get_result
from qc_core.tuning.select import select_best
from qc_core.tuning.slots import attempts_by_slot
from qc_core.tuning.study import Heartbeat, create_study, load_study
from qc_core.tuning.trials import read_trials
from qc_core.tuning.worker import run_worker
from tests.qc_core.tuning.conftest import PASSWORD, PostgreSQL

HEARTBEAT = Heartbeat(interval=1, grace=5)
STOP_AT = 6
# For what must come; none of the tests measures how long it takes.
PATIENCE = 120


def work(folder: Path, config: Config, dataset: Path, worker: int, stop: str) -> None:
    """One worker in a process of its own.

    Args:
        stop: "sleep" or "hang" when `STOP_AT` steps of trial 1 are kept; "" to work on.
    """
    # A process that is killed leaves its scratch.
    tempfile.tempdir = str(folder)
    sys.stderr = (folder / f"worker-{worker}.log").open("w", buffering=1)
    keep = TrialCheckpointStore.keep

    def keep_and_stop(self: TrialCheckpointStore, agent, info: CheckpointInfo, *rest) -> None:
        keep(self, agent, info, *rest)
        if self._name == "trial 1" and info.online_steps == STOP_AT:
            (folder / "stopped").touch()
            if stop == "hang":
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                time.sleep(PATIENCE)

    if stop:
        patch = pytest.MonkeyPatch()
        patch.setattr(TrialCheckpointStore, "keep", keep_and_stop)
        # Not about once a minute, but after each step.
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
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


def log(folder: Path, worker: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / f"worker-{worker}.log").read_text()
    return ""


def test_a_worker_that_is_killed_loses_no_trial_and_none_is_run_twice(
    tmp_path: Path, study: Callable[..., BaseProcess]
) -> None:
    dies = study(1, "sleep")
    wait_for((tmp_path / "stopped").exists)
    survives = study(2)
    # It has done the last trial, and waits because another is not done yet.
    wait_for(lambda: "no trial left and waits for other workers (1)" in log(tmp_path, 2))
    dies.kill()
    survives.join(PATIENCE)
    assert survives.exitcode == 0, log(tmp_path, 2)

    name = tmp_path.name
    slots = attempts_by_slot(load_study(name, "").trials)
    states = [[attempt.state for attempt in attempts] for attempts in slots.values()]
    done, lost = [TrialState.COMPLETE], [TrialState.FAIL, TrialState.COMPLETE]
    assert states == [done, lost, done]
    records = read_trials(load_study(name, ""))
    assert [record["worker"] for record in records] == [1, 2, 2]
    assert all(record["scores"][-1]["online_step"] == 12 for record in records)
    assert read_json(tmp_path / "worker-2.json") == records[1:]
    assert f"trial 1 goes on from step {STOP_AT}" in log(tmp_path, 2)
    assert PASSWORD not in log(tmp_path, 1) + log(tmp_path, 2)
    assert "Warning" not in log(tmp_path, 2)

    store = open_store()
    for record in records:
        target = tmp_path / f"result-{record['trial']}"
        get_result(store, name, record["trial"], record["optuna-trial"], target)
        assert read_info(target).online_steps == 12
        drawn = read_info(target).config.train.online_learning_rate
        assert drawn == record["parameters"]["online_learning_rate"]
    # A selection that is repeated comes to the same, though the others are gone.
    for again in ("a", "b"):
        select_best(name, "", tmp_path / again, tmp_path / f"{again}.json")
        history = read_json(tmp_path / f"{again}.json")
        assert history["trials"] == records
        best = tmp_path / f"result-{history['best-trial']}"
        assert weights_digest(tmp_path / again) == weights_digest(best)
        kept = {key.split("/")[2] for key in store.keys(f"studies/{name}/")}
        assert kept == {f"trial-{history['best-trial']}"}


def test_a_worker_that_only_slept_discards_what_became_anothers(
    tmp_path: Path, study: Callable[..., BaseProcess], three_trials: Config, pendulum: Path
) -> None:
    sleeps = study(1, "hang")
    wait_for((tmp_path / "stopped").exists)
    run(tmp_path, three_trials, pendulum, worker=2)
    before = read_trials(load_study(tmp_path.name, ""))
    assert [record["state"] for record in before] == ["complete"] * 3
    assert sleeps.pid is not None
    os.kill(sleeps.pid, signal.SIGCONT)
    sleeps.join(PATIENCE)
    assert sleeps.exitcode == 0, log(tmp_path, 1)
    assert "what it came to here is discarded" in log(tmp_path, 1)
    assert read_trials(load_study(tmp_path.name, "")) == before
    assert [trial["trial"] for trial in read_json(tmp_path / "worker-1.json")] == [0]

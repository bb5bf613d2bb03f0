"""Trials side by side on one device run once each, and the best one is selected."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.documents import encode
from qc_core.envs.make import describe
from qc_core.errors import QCError
from qc_core.progress import Progress
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import read_checkpoint, weights_digest
from qc_core.training.pretrain import pretrain
from qc_core.tuning.select import select_best
from qc_core.tuning.study import create_study, study_store
from qc_core.tuning.trial_results import selection_key
from qc_core.tuning.trials import StudyHistory, read_history, read_worker_trials
from qc_core.tuning.worker import run_worker
from tests.conftest import PENDULUM, write_random_dataset


@pytest.fixture
def two_at_a_time(pendulum_config: Config) -> Config:
    tune = replace(pendulum_config.tune, trials=5, trials_per_gpu=2)
    return replace(pendulum_config, tune=tune)


def work(config: Config, checkpoint: Path, dataset: Path, folder: Path) -> Path:
    storage = str(folder / "study.journal")
    create_study("s", storage, config)
    output = folder / "worker.json"
    run_worker(config, checkpoint, dataset, output, study_name="s", storage=storage, worker=0)
    return output


def test_side_by_side_every_trial_runs_once_and_the_best_is_selected(
    tmp_path: Path, two_at_a_time: Config, pendulum: Path
) -> None:
    pretrain(two_at_a_time, pendulum, tmp_path / "offline")
    output = work(two_at_a_time, tmp_path / "offline", pendulum, tmp_path)
    trials = read_worker_trials(output)
    assert [trial.trial for trial in trials] == [0, 1, 2, 3, 4]
    assert {trial.attempts for trial in trials} == {1}
    history = select(two_at_a_time, tmp_path, "a")
    assert history.trials == trials and history.selection is not None
    compared = [candidate.trial for candidate in history.selection.candidates]
    assert compared == [None, 0, 1, 2, 3, 4]
    seeds = seeds_for("select", two_at_a_time.seed, two_at_a_time.evaluate.episodes)
    assert history.selection.first_seed == seeds[0]
    assert history.best_trial == history.selection.best_trial
    best = trials[history.selection.best_trial]
    selected = read_checkpoint(tmp_path / "a-best").config.train.online_learning_rate
    assert selected == best.parameters["online_learning_rate"]
    assert not multiprocessing.active_children()
    # Two episodes cannot show that a trial is better.
    offline, best_weights = (weights_digest(tmp_path / name) for name in ("offline", "a-best"))
    assert weights_digest(tmp_path / "a-published") == offline != best_weights
    # A repeated selection keeps to the decision, whose other checkpoints are removed.
    store = study_store(str(tmp_path / "study.journal"))
    decision = structs.replace(history.selection, helped=True)
    store.put(selection_key("s"), encode(decision))
    assert select(two_at_a_time, tmp_path, "b").selection == decision
    assert weights_digest(tmp_path / "b-published") == best_weights


def select(config: Config, folder: Path, name: str) -> StudyHistory:
    select_best(
        config,
        folder / "offline",
        "s",
        str(folder / "study.journal"),
        folder / f"{name}-best",
        folder / f"{name}.json",
        published=folder / f"{name}-published",
    )
    return read_history(folder / f"{name}.json")


def test_selection_counts_failures_as_the_limit_of_the_environment_and_not_of_the_data(
    tmp_path: Path, pendulum_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(pendulum_config, tune=replace(pendulum_config.tune, trials=1))
    libraries: list[str] = []
    monkeypatch.setattr("qc_core.tuning.select.preload", libraries.append)
    environment = describe(PENDULUM)
    recorded = structs.replace(environment, episode_limit=60)
    dataset = write_random_dataset(tmp_path / "dataset", recorded)
    pretrain(config, dataset, tmp_path / "offline")
    assert read_checkpoint(tmp_path / "offline").spec.episode_limit == 60
    work(config, tmp_path / "offline", dataset, tmp_path)
    selection = select(config, tmp_path, "a").selection
    assert selection is not None and libraries == ["torch"]
    steps = [candidate.steps.value for candidate in selection.candidates]
    assert steps == [environment.episode_limit] * 2


def test_a_failure_in_one_process_is_one_line_and_ends_all(
    tmp_path: Path, two_at_a_time: Config, pendulum: Path
) -> None:
    with pytest.raises(QCError, match="is not a checkpoint folder") as failure:
        work(two_at_a_time, tmp_path / "missing", pendulum, tmp_path)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "worker.json").exists()
    assert not multiprocessing.active_children()


def test_a_killed_environment_costs_its_trial_one_episode(
    tmp_path: Path,
    pendulum_config: Config,
    pendulum: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(pendulum_config, tune=replace(pendulum_config.tune, trials=1))
    pretrain(config, pendulum, tmp_path / "offline")
    monkeypatch.setenv("QC_THREADS", "2")
    steps = 0

    def kill(*_: object, **__: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            (process,) = multiprocessing.active_children()
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", kill)
        (trial,) = read_worker_trials(work(config, tmp_path / "offline", pendulum, tmp_path))
    assert (trial.state, trial.attempts) == ("complete", 1)
    assert "was killed by signal 9 (SIGKILL)" in capsys.readouterr().err


def test_trials_side_by_side_are_an_option() -> None:
    assert resolve("smoke", ["--tune.trials-per-gpu", "4"]).tune.trials_per_gpu == 4
    with pytest.raises(QCError, match=r"--tune\.trials-per-gpu must be at least 1, got 0"):
        resolve("smoke", ["--tune.trials-per-gpu", "0"])

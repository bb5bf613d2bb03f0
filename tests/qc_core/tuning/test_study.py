"""The study is a queue: every trial runs once, the first with the recipe's settings."""

import contextlib
import multiprocessing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note

from qc_core.config.catalog import RECIPES
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.envs.failures import EnvironmentFailed, EnvironmentKilled
from qc_core.errors import RunError, TrainingDiverged, TransientError, UsageError
from qc_core.files import write_json
from qc_core.training.checkpoint import read_checkpoint, weights_digest
from qc_core.tuning.queue import end_attempts_of, end_interrupted, finish, take_trial
from qc_core.tuning.select import select_best
from qc_core.tuning.slots import DIVERGED, ERROR, REASON, SLOT
from qc_core.tuning.study import create_study, load_study, suggest
from qc_core.tuning.trials import (
    Trial,
    best_trial,
    read_history,
    read_trials,
    read_worker_trials,
)
from qc_core.tuning.tune import tune
from qc_core.tuning.worker import run_worker
from tests.train_settings import alpha_of


def take_all(storage: str, worker: int, taken) -> None:
    study = load_study("s", storage)
    while (trial := take_trial(study, 0, worker)) is not None:
        taken.append(trial.number)
        finish(study, trial, TrialState.COMPLETE, 0.5)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "study.journal")


def test_workers_share_the_trials(storage: str, config: Config) -> None:
    many = replace(config, tune=replace(config.tune, trials=30))
    create_study("s", storage, many)
    create_study("s", storage, many)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        taken = manager.list()
        workers = [
            context.Process(target=take_all, args=(storage, worker, taken)) for worker in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(taken) == list(range(30))
    states = [trial.state for trial in load_study("s", storage).trials]
    assert states == [TrialState.COMPLETE] * 30


def test_the_first_trial_has_the_recipes_settings_and_others_search_around_them(
    storage: str, config: Config
) -> None:
    create_study("s", storage, config)
    study = load_study("s", storage)
    first, second = take_trial(study, 0, 0), take_trial(study, 0, 0)
    assert first is not None and second is not None
    assert suggest(first, config) == config.train
    other = suggest(second, config)
    assert other != config.train
    factor = config.tune.alpha_factor
    ratio = alpha_of(other) / alpha_of(config.train)
    assert 1 / factor <= ratio <= factor
    # On one machine, workers do not wait for running trials.
    assert take_trial(study, 0, 0) is None


def test_without_storage_the_variable_is_named() -> None:
    with pytest.raises(UsageError, match="QC_STUDY_STORAGE"):
        load_study("s", "")
    with pytest.raises(UsageError, match="QC_STUDY_STORAGE"):
        create_study("s", "", RECIPES["smoke"].config)


@pytest.mark.parametrize("content", ['{"some": "thing"}', "[1]", "3", "{\n", "[" * 100_000])
def test_a_file_with_other_content_is_refused_as_storage(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content + "\n")
    monkeypatch.setenv("QC_STUDY_STORAGE", str(file))
    with pytest.raises(UsageError, match=r"it contains something else.*: QC_STUDY_STORAGE must be"):
        load_study("s", "")
    assert file.read_text() == content + "\n"


@pytest.mark.parametrize("place", [".", "file/study", "x" * 5000])
def test_a_path_that_cannot_be_a_file_is_refused_as_storage(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / place))
    with pytest.raises(UsageError, match=r"cannot be a study storage .*: QC_STUDY_STORAGE must be"):
        load_study("s", "")


def test_a_database_that_does_not_answer_shows_no_password(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", "sqlite:////nowhere/very-secret/study.db")
    for call in (lambda: create_study("s", "", config), lambda: load_study("s", "")):
        with pytest.raises(RunError, match="does not answer") as refusal:
            call()
        assert "very-secret" not in str(refusal.value)


def test_a_partly_created_study_is_completed(storage: str, config: Config) -> None:
    create_study("s", storage, replace(config, tune=replace(config.tune, trials=1)))
    create_study("s", storage, replace(config, tune=replace(config.tune, trials=3)))
    study = load_study("s", storage)
    assert [trial.number for trial in iter(lambda: take_trial(study, 0, 0), None)] == [0, 1, 2]


def test_only_settings_of_the_method_are_searched(storage: str, config: Config) -> None:
    best_of_n = replace(config, train=config.train.changed(method="qc"))
    create_study("s", storage, best_of_n)
    trial = take_trial(load_study("s", storage), 0, 0)
    assert trial is not None
    suggest(trial, best_of_n)
    assert set(trial.params) == {"online_learning_rate"}


def test_a_complete_study_writes_the_best_checkpoint_and_the_history(
    tmp_path: Path, config: Config, checkpoint: Path, dataset: Path
) -> None:
    tune(config, checkpoint, dataset, tmp_path / "online", tmp_path / "online.json")
    history = read_history(tmp_path / "online.json")
    assert [trial.trial for trial in history.trials] == [0, 1]
    assert history.best_trial is not None
    best = history.trials[history.best_trial]
    saved = read_checkpoint(tmp_path / "online")
    assert saved.online_steps == config.train.online_steps
    assert saved.config.train.online_learning_rate == best.parameters["online_learning_rate"]


def test_an_interrupted_study_resumes_and_a_finished_one_is_not_repeated(
    tmp_path: Path,
    config: Config,
    checkpoint: Path,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def run(given: Config, *, fresh: bool = False) -> None:
        places = tmp_path / "online", tmp_path / "online.json"
        tune(given, checkpoint, dataset, *places, fresh=fresh)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("qc_core.tuning.tune.select_best", interrupt)
        run(config)
    assert {path.name for path in tmp_path.iterdir()} == {"online.study", "online.metrics"}
    other = replace(config, train=replace(config.train, online_steps=13))
    with pytest.raises(UsageError, match=r"was started with --train.online-steps 12: give"):
        run(other)
    run(config)
    assert "online, trial 0" not in capfd.readouterr().err.rpartition("resuming the study")[2]
    assert {path.name for path in tmp_path.iterdir()} == {
        "online",
        "online.json",
        "online.metrics",
    }
    written = (tmp_path / "online.json").stat().st_mtime_ns
    run(config)
    assert (tmp_path / "online.json").stat().st_mtime_ns == written
    with pytest.raises(UsageError, match="is in use"):
        run(other)


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_trials_that_are_interrupted_resume_without_counting_as_losses(
    storage: str, config: Config
) -> None:
    create_study("s", storage, replace(config, tune=replace(config.tune, trials=1)))
    study = load_study("s", storage)
    for _ in range(5):
        assert take_trial(study, 0, 0) is not None
        end_interrupted(study)
    for _ in range(3):
        assert take_trial(study, 0, 0) is not None
        end_attempts_of(study, worker=1)
        assert [trial.state for trial in read_trials(study)] == ["running"]
        end_attempts_of(study, worker=0)
    assert [trial.state for trial in read_trials(study)] == ["lost"]


@pytest.mark.parametrize(
    ("failure", "states"),
    [
        (TrainingDiverged, ["diverged", "diverged"]),
        (EnvironmentFailed, ["failed", "failed"]),
        (RunError, ["failed", "waiting"]),
        (TransientError, ["lost", "waiting"]),
        # The machine has too little memory; the trial resumes on another.
        (EnvironmentKilled, ["lost", "waiting"]),
    ],
)
def test_divergence_and_failing_environments_cost_a_trial_and_other_failures_the_worker(
    storage: str,
    config: Config,
    checkpoint: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[RunError],
    states: list[str],
) -> None:
    tried: list[int] = []
    continues = failure in (TrainingDiverged, EnvironmentFailed)

    def fail(*_: object, trial: int, **__: object) -> None:
        tried.append(trial)
        raise failure("for the test")

    monkeypatch.setattr("qc_core.tuning.worker.fine_tune", fail)
    create_study("s", storage, config)
    places = checkpoint, dataset, tmp_path / "output"
    with contextlib.nullcontext() if continues else pytest.raises(RunError, match="for the test"):
        run_worker(config, *places, study_name="s", storage=storage, worker=0)
    assert tried == ([0, 1] if continues else [0])
    assert (tmp_path / "output").exists() == continues
    # The study notes the cause: only lost trials are tried again.
    trials = read_trials(load_study("s", storage))
    assert [trial.state for trial in trials] == states
    assert trials[0].error == ("" if issubclass(failure, TransientError) else "for the test")
    best, history = tmp_path / "best", tmp_path / "history.json"
    with pytest.raises(RunError, match="none of the 2 trials is complete"):
        # `qc tune` has nothing else to return, and lost trials may succeed on another machine.
        published = None if continues else tmp_path / "published"
        select_best(config, checkpoint, "s", storage, best, history, published=published)
    assert not best.exists() and not history.exists()


def test_if_every_trial_fails_the_offline_policy_is_published(
    storage: str,
    config: Config,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    create_study("s", storage, config)
    study = load_study("s", storage)
    while (attempt := take_trial(study, 0, worker=0)) is not None:
        number = attempt.user_attrs[SLOT]
        attempt.set_user_attr(REASON, DIVERGED)
        attempt.set_user_attr(ERROR, f"cause {number}")
        finish(study, attempt, TrialState.FAIL, None)
    best, published, history = (tmp_path / name for name in ("best", "published", "history.json"))
    online_only = replace(config, train=resolve("smoke", ["--train.method", "rlpd"]).train)
    with pytest.raises(RunError, match=r"none of the 2 trials is complete; trial 0: cause 0$"):
        select_best(online_only, checkpoint, "s", storage, best, history, published=published)
    select_best(config, checkpoint, "s", storage, best, history, published=published)
    assert weights_digest(published) == weights_digest(best) == weights_digest(checkpoint)
    found = read_history(history)
    assert found.best_trial is None and not found.fine_tuning_helped
    assert [trial.error for trial in found.trials] == ["cause 0", "cause 1"]
    assert (
        "the offline policy is published: none of the 2 trials is complete; trial 0: cause 0"
        in capsys.readouterr().err
    )


def trial(number: int, success: float, steps: float, state: str = "complete") -> Trial:
    return Trial(
        trial=number,
        state=state,
        attempts=1,
        optuna_trial=number,
        worker=0,
        parameters={},
        scores=[],
        seconds=1.0,
        success=success,
        steps=steps,
        episode_return=-steps,
        reports_success=True,
    )


def without_success(number: int, episode_return: float) -> Trial:
    """Return a trial in an environment that does not report success."""
    return msgspec.structs.replace(
        trial(number, 0.0, 200), episode_return=episode_return, reports_success=False
    )


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(0, 0.8, 90), trial(1, 0.9, 99)], 1),
        ([trial(0, 0.9, 90), trial(1, 0.9, 80)], 1),
        ([trial(0, 0.9, 90), trial(1, 0.9, 90)], 0),
        ([trial(0, 0.9, 90, "pruned"), trial(1, 0.1, 90)], 1),
    ],
)
def test_success_comes_first_then_speed_then_the_recipe(trials: list[Trial], best: int) -> None:
    assert best_trial(trials) == trials[best]
    lost = msgspec.structs.replace(
        trial(1, 0, 0, "lost"),
        success=None,
        steps=None,
        episode_return=None,
        reports_success=None,
    )
    assert best_trial([trial(0, 1, 9, "pruned"), lost]) is None


def test_without_a_success_signal_the_return_decides() -> None:
    trials = [without_success(0, -900.0), without_success(1, -300.0), without_success(2, -300.0)]
    assert best_trial(trials) == trials[1]


def test_trials_and_histories_of_an_earlier_release_are_read(tmp_path: Path) -> None:
    score = {
        "online_step": 6,
        "success": 0.5,
        "steps": 80.0,
        "episode_return": -80.0,
        "success_told": True,
    }
    old = {
        "trial": 0,
        "state": "complete",
        "attempts": 1,
        "optuna-trial": 0,
        "worker": 1,
        "parameters": {"online_learning_rate": 3e-4},
        "scores": [score],
        "seconds": 2.0,
        "success": 0.5,
        "steps": 80.0,
        "return": -80.0,
        "success-told": True,
    }
    waiting = {
        "trial": 1,
        "state": "waiting",
        "attempts": 1,
        "optuna-trial": 1,
        "worker": None,
        "parameters": {},
        "scores": [],
        "seconds": 0.0,
    }
    write_json(tmp_path / "history", {"best-trial": 0, "trials": [old, waiting]})
    write_json(tmp_path / "worker", [old, waiting])
    history = read_history(tmp_path / "history")
    assert history.trials == read_worker_trials(tmp_path / "worker")
    first, second = history.trials
    assert first.reports_success is True and first.scores[0].value == 0.5
    assert (second.worker, second.reports_success) == (None, None)
    assert best_trial(history.trials) == first


@pytest.mark.parametrize("content", [3, {"best-trial": 0, "trials": [3]}, {"trials": []}])
def test_a_damaged_history_is_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "history", content)
    with pytest.raises(UsageError, match="history") as refusal:
        read_history(tmp_path / "history")
    assert "\n" not in str(refusal.value)


def test_the_dashboard_shows_the_objective_and_a_link_to_the_run(
    storage: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_KFP_URL", "http://kfp:8080/")
    for _ in range(2):
        create_study("run-1", storage, config, reports_success=False)
    study = load_study("run-1", storage)
    assert study.metric_names == ["return"]
    page = "http://kfp:8080/#/runs/details/run-1"
    shown = study.user_attrs
    assert (shown["run"], shown["recipe"], shown["method"]) == ("run-1", "smoke", "qc-fql")
    assert shown["page"] == page
    assert f"[run-1]({page})" in get_note(study)

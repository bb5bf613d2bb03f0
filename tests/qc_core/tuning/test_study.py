"""The study is a queue: every trial is run, none twice, the first as the recipe says."""

import contextlib
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from qc_core.config.catalog import RECIPES
from qc_core.config.settings import Config
from qc_core.errors import RunError, TrainingDiverged, TransientError, UsageError
from qc_core.files import read_json
from qc_core.training.checkpoint import read_info
from qc_core.tuning.queue import finish, take_trial
from qc_core.tuning.study import create_study, load_study, suggest
from qc_core.tuning.trials import best_trial, figures, read_trials
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


def test_workers_share_the_trials_between_them(storage: str, config: Config) -> None:
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


def test_the_first_trial_is_the_recipe_itself_and_others_search_around_it(
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
    # On one machine nobody waits for those that are still running.
    assert take_trial(study, 0, 0) is None


def test_without_storage_the_variable_is_named() -> None:
    with pytest.raises(UsageError, match="QC_STUDY_STORAGE"):
        load_study("s", "")
    with pytest.raises(UsageError, match="QC_STUDY_STORAGE"):
        create_study("s", "", RECIPES["smoke"].config)


@pytest.mark.parametrize("content", ['{"some": "thing"}', "[1]", "3", "{\n", "[" * 100_000])
def test_a_file_of_other_content_keeps_no_study(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content + "\n")
    monkeypatch.setenv("QC_STUDY_STORAGE", str(file))
    with pytest.raises(UsageError, match=r"it holds something else.*: QC_STUDY_STORAGE must be"):
        load_study("s", "")
    assert file.read_text() == content + "\n"


@pytest.mark.parametrize("place", [".", "file/study", "x" * 5000])
def test_a_place_that_can_be_no_file_keeps_no_study(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / place))
    with pytest.raises(UsageError, match=r"cannot keep .*: QC_STUDY_STORAGE must be"):
        load_study("s", "")


def test_a_database_that_does_not_answer_shows_no_password(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", "sqlite:////nowhere/very-secret/study.db")
    for call in (lambda: create_study("s", "", config), lambda: load_study("s", "")):
        with pytest.raises(RunError, match="does not answer") as refusal:
            call()
        assert "very-secret" not in str(refusal.value)


def test_a_study_that_was_cut_off_while_being_made_is_completed(
    storage: str, config: Config
) -> None:
    create_study("s", storage, replace(config, tune=replace(config.tune, trials=1)))
    create_study("s", storage, replace(config, tune=replace(config.tune, trials=3)))
    study = load_study("s", storage)
    assert [trial.number for trial in iter(lambda: take_trial(study, 0, 0), None)] == [0, 1, 2]


def test_nothing_is_searched_that_the_method_does_not_have(storage: str, config: Config) -> None:
    best_of_n = replace(config, train=config.train.changed(method="qc"))
    create_study("s", storage, best_of_n)
    trial = take_trial(load_study("s", storage), 0, 0)
    assert trial is not None
    suggest(trial, best_of_n)
    assert set(trial.params) == {"online_learning_rate"}


def test_the_whole_study_leaves_the_best_checkpoint_and_its_history(
    tmp_path: Path, config: Config, checkpoint: Path, dataset: Path
) -> None:
    tune(config, checkpoint, dataset, tmp_path / "online", tmp_path / "online.json")
    history = read_json(tmp_path / "online.json")
    assert [trial["trial"] for trial in history["trials"]] == [0, 1]
    best = history["trials"][history["best-trial"]]
    info = read_info(tmp_path / "online")
    assert info.online_steps == config.train.online_steps
    assert info.config.train.online_learning_rate == best["parameters"]["online_learning_rate"]


@pytest.mark.parametrize(
    ("failure", "states"),
    [
        (TrainingDiverged, ["diverged", "diverged"]),
        (RunError, ["failed", "waiting"]),
        (TransientError, ["lost", "waiting"]),
    ],
)
def test_a_setting_that_diverges_is_a_result_and_what_else_fails_ends_the_worker(
    storage: str,
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[RunError],
    states: list[str],
) -> None:
    tried: list[int] = []
    goes_on = failure is TrainingDiverged

    def fail(*_: object, trial: int, **__: object) -> None:
        tried.append(trial)
        raise failure("for the test")

    monkeypatch.setattr("qc_core.tuning.worker.fine_tune", fail)
    create_study("s", storage, config)
    places = tmp_path / "checkpoint", tmp_path / "dataset", tmp_path / "output"
    with contextlib.nullcontext() if goes_on else pytest.raises(RunError, match="for the test"):
        run_worker(config, *places, study_name="s", storage=storage, worker=0)
    assert tried == ([0, 1] if goes_on else [0])
    assert (tmp_path / "output").exists() == goes_on
    # Whose fault it was stands in the study: only what is lost is tried again.
    assert [trial["state"] for trial in read_trials(load_study("s", storage))] == states


def record(trial: int, success: float, steps: float, state: str = "complete") -> dict:
    figures = {"success": success, "steps": steps, "return": -steps, "success-told": True}
    return {"trial": trial, "state": state, **figures}


def untold(trial: int, episode_return: float) -> dict:
    """Of an environment that tells no success."""
    return record(trial, 0.0, 200) | {"return": episode_return, "success-told": False}


@pytest.mark.parametrize(
    ("records", "best"),
    [
        ([record(0, 0.8, 90), record(1, 0.9, 99)], 1),
        ([record(0, 0.9, 90), record(1, 0.9, 80)], 1),
        ([record(0, 0.9, 90), record(1, 0.9, 90)], 0),
        ([record(0, 0.9, 90, "pruned"), record(1, 0.1, 90)], 1),
    ],
)
def test_success_comes_first_then_speed_then_the_recipe(records: list[dict], best: int) -> None:
    assert best_trial(records) == records[best]
    assert best_trial([record(0, 1, 9, "pruned"), {"trial": 1, "state": "lost"}]) is None


def test_where_no_success_is_told_the_return_decides() -> None:
    records = [untold(0, -900.0), untold(1, -300.0), untold(2, -300.0)]
    assert best_trial(records) == records[1]
    assert figures(records) == {"trials": 3, "complete": 3, "best-trial": 1, "return": -300}


def test_a_study_is_summed_up_in_a_few_numbers() -> None:
    records = [record(0, 0.8, 90), record(1, 0.9, 99), record(2, 0.5, 120, "pruned")]
    counts = {"trials": 3, "complete": 2, "pruned": 1}
    assert figures(records) == {**counts, "best-trial": 1, "success": 0.9, "steps": 99}
    assert figures(records[2:]) == {"trials": 1, "pruned": 1}

"""Fine-tuning explores, learns from what it sees, and is scored on its own seeds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.envs.make import describe
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.progress import Progress
from qc_core.training import checkpoint_store as resume
from qc_core.training.checkpoint import TRAINING, WEIGHTS, load_agent, read_curve, read_info
from qc_core.training.fine_tune import Score, fine_tune
from qc_core.training.local_checkpoints import LocalCheckpointStore
from qc_core.training.online import OnlineTraining
from qc_core.training.pretrain import pretrain
from tests.conftest import random_episodes
from tests.qc_core.training.interrupt import Interrupt


def first_weight(agent: Agent) -> torch.Tensor:
    return agent.state_dict()["one_step.weights.0"]


def test_a_trial_is_scored_as_often_as_asked_and_moves_the_weights(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    scores: list[Score] = []
    twice = replace(config, tune=replace(config.tune, evaluations=2))
    result = fine_tune(twice, checkpoint, dataset, trial=0, on_score=scores.append)
    assert [score.online_step for score in scores] == [6, 12]
    assert all(0 <= score.success <= 1 and 1 <= score.steps <= 200 for score in scores)
    assert result.info.online_steps == 12
    before = load_agent(checkpoint, torch.device("cpu"))
    assert not torch.equal(first_weight(before), first_weight(result.agent))


def test_nothing_is_learned_before_the_start(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    train = replace(config.train, online_steps=5, learning_starts=5)
    result = fine_tune(
        replace(config, train=train), checkpoint, dataset, trial=0, on_score=lambda _: None
    )
    before = load_agent(checkpoint, torch.device("cpu")).state_dict()
    after = result.agent.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_trial_is_repeatable_and_another_differs(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    def weights(trial: int) -> torch.Tensor:
        result = fine_tune(config, checkpoint, dataset, trial=trial, on_score=lambda _: None)
        return first_weight(result.agent)

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_optimiser_goes_on_where_pretraining_stopped(config: Config, checkpoint: Path) -> None:
    slower = replace(config.train, learning_rate=5e-5)
    agent = load_agent(checkpoint, torch.device("cpu"), slower)
    steps = {float(entry["step"]) for entry in agent.optimizers["adam"].state.values()}
    assert steps == {config.train.offline_steps}
    assert agent.optimizers["adam"].param_groups[0]["lr"] == 5e-5


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden_dims", (16, 16)), ("backup_horizon", 4), ("num_critics", 3), ("method", "qc")],
)
def test_settings_that_the_weights_are_not_made_for_are_refused(
    config: Config, checkpoint: Path, dataset: Path, option: str, value: object
) -> None:
    other = replace(config, train=config.train.changed(**{option: value}))
    with pytest.raises(UsageError, match=f"was trained with --train.{option}"):
        fine_tune(other, checkpoint, dataset, trial=0, on_score=lambda _: None)


def test_a_checkpoint_of_another_environment_is_refused(
    config: Config, checkpoint: Path, tmp_path: Path
) -> None:
    double = "cube-double-singletask-task1-v0"
    writer = DatasetWriter(tmp_path / "double", describe(double))
    writer.append(random_episodes(describe(double), [30]))
    writer.finish(DataSource(kind="test"))
    other = replace(config, environment=double)
    with pytest.raises(UsageError, match=f"{checkpoint} was trained in .*, not {double}"):
        fine_tune(other, checkpoint, tmp_path / "double", trial=0, on_score=lambda _: None)


def test_a_data_set_of_other_sizes_is_refused(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    other = replace(config, environment="cube-double-singletask-task1-v0")
    with pytest.raises(UsageError, match=r"has observations of 37 .*, the data set 28 and 5"):
        fine_tune(other, checkpoint, dataset, trial=0, on_score=lambda _: None)


@pytest.fixture
def scored_twice(pendulum_config: Config) -> Config:
    return replace(pendulum_config, tune=replace(pendulum_config.tune, evaluations=2))


@pytest.fixture
def broken_off(
    tmp_path: Path, scored_twice: Config, pendulum: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A trial of 12 steps that was kept after each step and interrupted in its tenth."""
    monkeypatch.setattr(resume, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(resume, "_SHARE_OF_TIME", float("inf"))
    pretrain(scored_twice, pendulum, tmp_path / "offline")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=10))
        go_on(tmp_path, scored_twice, pendulum)
    (kept,) = (tmp_path / "trial.partial").iterdir()
    return kept


def go_on(folder: Path, config: Config, dataset: Path) -> list[Score]:
    scores: list[Score] = []
    kept = LocalCheckpointStore(folder / "trial")
    result = fine_tune(
        config, folder / "offline", dataset, trial=0, on_score=scores.append, kept=kept
    )
    assert result.info.online_steps == 12
    assert [point["step"] for point in result.curve] == [score.online_step for score in scores]
    return scores


def test_a_trial_goes_on_from_where_it_was_kept_with_the_scores_it_had(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    broken_off: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_info(broken_off).online_steps == 9
    steps = 0

    def count(_: Progress, done: int = 1, **__: object) -> None:
        nonlocal steps
        steps += done

    monkeypatch.setattr(Progress, "update", count)
    scores = go_on(tmp_path, scored_twice, pendulum)
    assert [score.online_step for score in scores] == [6, 12]
    assert steps == 3
    assert "trial 0 goes on from step 9" in capsys.readouterr().err


def test_a_device_that_fails_is_no_damage(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    broken_off: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was kept is for another attempt, on a device that works."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(OnlineTraining, "restore", full)
        go_on(tmp_path, scored_twice, pendulum)
    assert "starts anew" not in capsys.readouterr().err
    go_on(tmp_path, scored_twice, pendulum)
    assert "trial 0 goes on from step 9" in capsys.readouterr().err


def test_keeping_does_not_wait_for_ever_for_scores_that_are_still_being_played(
    tmp_path: Path, scored_twice: Config, pendulum: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Scores are played in the background, and keeping is overdue after each step.
    monkeypatch.setenv("QC_THREADS", "2")
    monkeypatch.setattr(resume, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(resume, "_SHARE_OF_TIME", float("inf"))
    pretrain(scored_twice, pendulum, tmp_path / "offline")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=8))
        go_on(tmp_path, scored_twice, pendulum)
    (kept,) = (tmp_path / "trial.partial").iterdir()
    assert read_info(kept).online_steps == 7
    assert [point["step"] for point in read_curve(kept)] == [6]


def test_what_cannot_be_gone_on_from_is_not_half_used(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    broken_off: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (broken_off / TRAINING).write_bytes((broken_off / WEIGHTS).read_bytes())
    assert [score.online_step for score in go_on(tmp_path, scored_twice, pendulum)] == [6, 12]
    said = capsys.readouterr().err
    assert "trial 0 starts anew, not from what was kept of it: " in said
    assert "goes on from" not in said
    # What that training kept last is whole, but another trial's.
    other = replace(scored_twice, train=replace(scored_twice.train, online_learning_rate=0.5))
    go_on(tmp_path, other, pendulum)
    assert "it was begun with --train.online-learning-rate" in capsys.readouterr().err

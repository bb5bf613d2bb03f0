"""Fine-tuning explores, learns from every step, and is scored on seeds of its own."""

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
from qc_core.training.checkpoint import CURVE, TRAINING, WEIGHTS, read_checkpoint, read_curve
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.fine_tune import fine_tune
from qc_core.training.local_checkpoints import LocalCheckpoints
from qc_core.training.online import OnlineTraining
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import load_agent
from qc_core.training.score import Score, score_of
from qc_core.training.scoring import Scoring
from tests.conftest import random_episodes
from tests.qc_core.training.interrupt import Interrupt, save_after_each_step


def first_weight(agent: Agent) -> torch.Tensor:
    return agent.state_dict()["one_step.weights.0"]


def test_a_trial_is_scored_at_even_intervals_and_changes_the_weights(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    scores: list[Score] = []
    twice = replace(config, tune=replace(config.tune, evaluations=2))
    result = fine_tune(twice, checkpoint, dataset, trial=0, on_score=scores.append)
    assert [score.online_step for score in scores] == [6, 12]
    assert all(0 <= score.success <= 1 and 1 <= score.steps <= 200 for score in scores)
    assert result.checkpoint.online_steps == 12
    before = load_agent(checkpoint, torch.device("cpu"))
    assert not torch.equal(first_weight(before), first_weight(result.agent))


def test_nothing_is_learned_before_learning_starts(
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


def test_the_optimiser_continues_from_pretraining(config: Config, checkpoint: Path) -> None:
    slower = replace(config.train, learning_rate=5e-5)
    agent = load_agent(checkpoint, torch.device("cpu"), slower)
    steps = {float(entry["step"]) for entry in agent.optimizers["adam"].state.values()}
    assert steps == {config.train.offline_steps}
    assert agent.optimizers["adam"].param_groups[0]["lr"] == 5e-5


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden_dims", (16, 16)), ("backup_horizon", 4), ("num_critics", 3), ("method", "qc")],
)
def test_settings_of_other_networks_are_refused(
    config: Config, checkpoint: Path, dataset: Path, option: str, value: object
) -> None:
    other = replace(config, train=config.train.changed(**{option: value}))
    with pytest.raises(UsageError, match=f"was trained with --train.{option.replace('_', '-')}"):
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
    with pytest.raises(UsageError, match=r"has observations of 37 .*, the dataset 28 and 5"):
        fine_tune(other, checkpoint, dataset, trial=0, on_score=lambda _: None)


@pytest.fixture
def scored_twice(pendulum_config: Config) -> Config:
    return replace(pendulum_config, tune=replace(pendulum_config.tune, evaluations=2))


@pytest.fixture
def interrupted(
    tmp_path: Path, scored_twice: Config, pendulum: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Checkpoint of a trial of 12 steps, saved after each step and interrupted in the tenth."""
    save_after_each_step(monkeypatch)
    pretrain(scored_twice, pendulum, tmp_path / "offline")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=10))
        resume(tmp_path, scored_twice, pendulum)
    checkpoint, before = LocalCheckpoints(tmp_path / "trial.partial").saved()
    assert read_checkpoint(before).online_steps == 8
    return checkpoint


def resume(folder: Path, config: Config, dataset: Path) -> list[Score]:
    scores: list[Score] = []
    result = fine_tune(
        config,
        folder / "offline",
        dataset,
        trial=0,
        on_score=scores.append,
        checkpoints=CheckpointStore(LocalCheckpoints(folder / "trial.partial"), "trial 0"),
    )
    assert result.checkpoint.online_steps == 12
    assert [point["step"] for point in result.curve] == [score.online_step for score in scores]
    return scores


def test_a_trial_resumes_from_its_checkpoint_with_its_scores(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    interrupted: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_checkpoint(interrupted).online_steps == 9
    steps = 0

    def count(_: Progress, done: int = 1, *__: object, **___: object) -> None:
        nonlocal steps
        steps += done

    monkeypatch.setattr(Progress, "update", count)
    scores = resume(tmp_path, scored_twice, pendulum)
    assert [score.online_step for score in scores] == [6, 12]
    assert steps == 3
    assert "trial 0 resumes from step 9" in capsys.readouterr().err


def test_a_failing_device_does_not_count_as_damage(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    interrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The checkpoint stays for another attempt, on a device that works."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(OnlineTraining, "restore", full)
        resume(tmp_path, scored_twice, pendulum)
    assert "starts over" not in capsys.readouterr().err
    resume(tmp_path, scored_twice, pendulum)
    assert "trial 0 resumes from step 9" in capsys.readouterr().err


def test_a_checkpoint_contains_evaluations_whose_episodes_are_still_being_played(
    tmp_path: Path, scored_twice: Config, pendulum: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_after_each_step(monkeypatch)
    pretrain(scored_twice, pendulum, tmp_path / "offline")
    undisturbed = fine_tune(
        scored_twice, tmp_path / "offline", pendulum, trial=0, on_score=lambda _: None
    )
    # Evaluation runs in the background, and none of its results arrive before the interruption.
    monkeypatch.setenv("QC_THREADS", "2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Scoring, "poll", lambda _: None)
        patch.setattr(Progress, "update", Interrupt(at=8))
        resume(tmp_path, scored_twice, pendulum)
    checkpoint = next(LocalCheckpoints(tmp_path / "trial.partial").saved())
    assert (read_checkpoint(checkpoint).online_steps, read_curve(checkpoint)) == (7, [])
    first, last = resume(tmp_path, scored_twice, pendulum)
    assert first == score_of(undisturbed.curve[0])
    assert last.online_step == 12


def test_a_trial_starts_over_if_its_checkpoint_cannot_be_used(
    tmp_path: Path,
    scored_twice: Config,
    pendulum: Path,
    interrupted: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for checkpoint in LocalCheckpoints(interrupted.parent).saved():
        (checkpoint / TRAINING).write_bytes((checkpoint / WEIGHTS).read_bytes())
    assert [score.online_step for score in resume(tmp_path, scored_twice, pendulum)] == [6, 12]
    log = capsys.readouterr().err
    assert "trial 0 starts over: cannot resume from " in log
    assert "resumes from" not in log
    # The last checkpoint of that training is complete, but of other options.
    other = replace(scored_twice, train=replace(scored_twice.train, online_learning_rate=0.5))
    resume(tmp_path, other, pendulum)
    assert "was started with --train.online-learning-rate" in capsys.readouterr().err


def test_scores_of_curves_from_earlier_releases_are_read(tmp_path: Path) -> None:
    (tmp_path / CURVE).write_text("step,success,steps,return,success-told\n6,0,200,-3,0\n")
    (point,) = read_curve(tmp_path)
    assert score_of(point).value == -3.0

"""Fine-tuning explores, learns from what it sees, and is scored on its own seeds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config
from qc_core.training.checkpoint import load_agent
from qc_core.training.fine_tune import Score, fine_tune


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
    train = replace(config.train, online_steps=5, online_start=5)
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
    steps = {float(entry["step"]) for entry in agent.optimizer.state.values()}
    assert steps == {config.train.offline_steps}
    assert agent.optimizer.param_groups[0]["lr"] == 5e-5


@pytest.mark.parametrize(
    ("option", "value"), [("widths", (16, 16)), ("horizon", 4), ("critics", 3), ("method", "qc")]
)
def test_settings_that_the_weights_are_not_made_for_are_refused(
    config: Config, checkpoint: Path, dataset: Path, option: str, value: object
) -> None:
    other = replace(config, train=replace(config.train, **{option: value}))
    with pytest.raises(WrongUse, match=f"was trained with --train.{option}"):
        fine_tune(other, checkpoint, dataset, trial=0, on_score=lambda _: None)


def test_a_checkpoint_of_other_sizes_is_refused(
    config: Config, checkpoint: Path, dataset: Path
) -> None:
    other = replace(config, environment="cube-double-singletask-task1-v0")
    with pytest.raises(WrongUse):
        fine_tune(other, checkpoint, dataset, trial=0, on_score=lambda _: None)

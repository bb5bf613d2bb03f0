"""Evaluations use the weights of their step, wherever and whenever the episodes run."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.settings import Config
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.training.fine_tune import fine_tune
from qc_core.training.pretrain import pretrain
from qc_core.training.score import Score
from qc_core.training.scoring import Scoring

SEEDS = [3, 4, 5]


@pytest.fixture
def agent(pendulum_config: Config) -> Agent:
    torch.manual_seed(0)
    made = make_agent(3, 1, pendulum_config.train)
    made.set_action_bounds([-2.0], [2.0])
    return made


def test_background_evaluation_uses_the_weights_from_when_it_started(
    pendulum_config: Config, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(cores: str) -> list[list[EpisodeResult]]:
        monkeypatch.setenv("QC_THREADS", cores)
        got: list[list[EpisodeResult]] = []
        torch.manual_seed(0)
        with Scoring(pendulum_config, SEEDS) as scoring:
            for _ in range(2):
                scoring.play(agent, got.append)
                with torch.no_grad():
                    for parameter in agent.parameters():
                        parameter.add_(torch.randn(parameter.shape))
            scoring.finish()
        return got

    before = {name: value.clone() for name, value in agent.state_dict().items()}
    here = scored("1")
    agent.load_state_dict(before)
    assert scored("3") == here
    assert [result.seed for result in here[0]] == SEEDS
    assert here[0] != here[1]
    assert not multiprocessing.active_children()


def test_results_are_reported_while_training_continues(
    pendulum_config: Config, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_THREADS", "2")
    got: list[list[EpisodeResult]] = []
    with Scoring(pendulum_config, SEEDS) as scoring:
        scoring.play(agent, got.append)
        assert not got
        deadline = time.monotonic() + 120
        while not got and time.monotonic() < deadline:
            scoring.poll()
            time.sleep(0.01)
    assert [len(results) for results in got] == [len(SEEDS)]


def test_episodes_are_interrupted_when_training_ends_early(
    pendulum_config: Config, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QC_THREADS", "2")
    with pytest.raises(KeyboardInterrupt), Scoring(pendulum_config, range(10_000)) as scoring:
        scoring.play(agent, lambda _: None)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


def test_a_killed_process_costs_its_episode(
    pendulum_config: Config,
    agent: Agent,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QC_THREADS", "2")
    got: list[list[EpisodeResult]] = []
    with Scoring(pendulum_config, SEEDS) as scoring:
        scoring.play(agent, got.append)
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        scoring.finish()
    assert [result.seed for result in got[0]] == SEEDS[1:]
    assert "the environment process was killed by signal 9 (SIGKILL)" in capsys.readouterr().err
    assert not multiprocessing.active_children()


def test_a_trial_gives_the_same_result_in_one_process_and_in_several(
    pendulum_config: Config, pendulum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(pendulum_config, pendulum, tmp_path / "offline")
    tune = replace(pendulum_config.tune, evaluations=2, episodes=2)
    twice = replace(pendulum_config, tune=tune)

    def trial(cores: str) -> tuple[list[Score], dict[str, torch.Tensor], list[float]]:
        monkeypatch.setenv("QC_THREADS", cores)
        scores: list[Score] = []
        result = fine_tune(twice, tmp_path / "offline", pendulum, trial=0, on_score=scores.append)
        return scores, result.agent.state_dict(), [point["step"] for point in result.curve]

    (scores, weights, steps), (background, apart, later) = trial("1"), trial("3")
    assert scores == background
    assert steps == later == [6, 12]
    assert all(torch.equal(weights[name], value) for name, value in apart.items())

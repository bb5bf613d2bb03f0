"""A pulled policy runs in environments of its sizes, and others are refused."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from qc_core.envs.play import play_episode
from qc_core.envs.runner import PolicyRunner
from qc_core.errors import UsageError
from qc_core.runtime import ChunkPolicy


class Drifting(gymnasium.Env[np.ndarray, np.ndarray]):
    """Moves with its actions for twelve steps; solved when they add up to more than nothing."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (28,))
    action_space = gymnasium.spaces.Box(-1, 1, (5,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.played: list[np.ndarray] = []
        return self.np_random.normal(size=28), {"options": options}

    def step(self, action):
        assert action.shape == (5,)
        self.played.append(action)
        moved = float(np.sum(self.played))
        info = {"success": moved > 0}
        return np.full(28, moved), moved, False, len(self.played) == 12, info


@pytest.fixture
def runner(policy: Path) -> PolicyRunner:
    return PolicyRunner(Drifting(), ChunkPolicy.load(policy))


def test_an_episode_is_played_step_by_step(policy: Path) -> None:
    environment = Drifting()
    runner = PolicyRunner(environment, ChunkPolicy.load(policy))
    observation, info = runner.reset(seed=3, options={"easy": True})
    assert info == {"options": {"easy": True}}
    same = ChunkPolicy.load(policy, seed=3)
    ended = False
    while not ended:
        expected = same.act(observation)
        observation, _, terminated, truncated, _ = runner.step()
        np.testing.assert_array_equal(environment.played[-1], expected)
        ended = terminated or truncated
    assert len(environment.played) == 12


def test_playing_an_episode_matches_play_episode(runner: PolicyRunner, policy: Path) -> None:
    for seed in (3, 4):
        outcome = play_episode(Drifting(), ChunkPolicy.load(policy), seed)
        assert runner.play(seed) == outcome
        assert outcome.steps == 12


def test_a_new_episode_starts_with_a_new_chunk(runner: PolicyRunner) -> None:
    first = runner.play(3)
    runner.reset(seed=4)
    runner.step()
    assert runner.play(3) == first


def test_the_runner_can_be_wrapped(runner: PolicyRunner) -> None:
    limited = gymnasium.wrappers.TimeLimit(runner, 4)
    limited.reset(seed=0)
    truncated = [limited.step(None)[3] for _ in range(4)]
    assert truncated == [False, False, False, True]


def test_mismatched_sizes_are_refused_and_both_are_shown(policy: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        PolicyRunner(gymnasium.make("Pendulum-v1"), ChunkPolicy.load(policy))
    line = str(refusal.value)
    assert "observations [28] and gives actions [5]" in line
    assert "(3,)" in line
    assert "(1,)" in line
    assert "\n" not in line
    with pytest.raises(UsageError, match="Discrete"):
        PolicyRunner(gymnasium.make("CartPole-v1"), ChunkPolicy.load(policy))


def test_invalid_steps_are_refused(runner: PolicyRunner) -> None:
    with pytest.raises(UsageError, match="call reset before step"):
        runner.step()
    runner.reset(seed=0)
    with pytest.raises(UsageError, match="takes no action"):
        runner.step(np.zeros(5))  # pyright: ignore[reportArgumentType]

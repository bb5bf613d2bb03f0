"""Plays recorded actions in the environment again, and compares observations and rewards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np

from qc_core.data.formats.source import ReplayableEpisode
from qc_core.documents import Document
from qc_core.envs.make import make_environment
from qc_core.errors import UsageError


class ReplayResult(Document, frozen=True, kw_only=True):
    """How the environment differs from recorded episodes.

    Attributes:
        episodes: number of episodes that were played.
        steps: number of steps that were compared. The comparison of an episode stops where the
            environment ends it.
        early_ends: episodes that the environment ended before their last recorded step.
        observation_difference: largest absolute difference of a number.
        reward_difference: largest absolute difference; None if the source has no rewards of its
            own.
    """

    episodes: int
    steps: int
    early_ends: int
    observation_difference: float
    reward_difference: float | None


def replay(environment: str, episodes: Iterable[ReplayableEpisode]) -> ReplayResult:
    """Play episodes from their recorded starts.

    Raises:
        UsageError: the environment cannot be made, cannot start in a recorded state, or has other
            sizes; or there are no episodes.
    """
    made = make_environment(environment)
    try:
        played = [_replay_one(made, environment, episode) for episode in episodes]
    finally:
        made.close()
    if not played:
        raise UsageError("there are no episodes to play again")
    rewards = [result.reward_difference for result in played]
    return ReplayResult(
        episodes=len(played),
        steps=sum(result.steps for result in played),
        early_ends=sum(result.early_ends for result in played),
        observation_difference=max(result.observation_difference for result in played),
        reward_difference=max((r for r in rewards if r is not None), default=None),
    )


def _replay_one(made: gymnasium.Env, environment: str, episode: ReplayableEpisode) -> ReplayResult:
    observation = _start(made, environment, episode)
    recorded = episode.observations
    if observation.shape != recorded.shape[1:]:
        raise UsageError(
            f"{environment} has observations of {observation.size} numbers, the data of "
            f"{recorded.shape[1]}"
        )
    differences, rewards, ended = [_difference(observation, recorded[0])], [], False
    for row, action in enumerate(episode.actions):
        observation, reward, terminated, truncated, _ = made.step(action)
        if row + 1 < len(recorded):
            differences.append(_difference(observation, recorded[row + 1]))
        rewards.append(float(reward))
        if terminated or truncated:
            ended = row + 1 < len(episode.actions)
            break
    return ReplayResult(
        episodes=1,
        steps=len(rewards),
        early_ends=int(ended),
        observation_difference=max(differences),
        reward_difference=None
        if episode.rewards is None
        else _difference(np.array(rewards), episode.rewards[: len(rewards)]),
    )


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(np.asarray(first, np.float64) - second).max())


def _start(made: gymnasium.Env, environment: str, episode: ReplayableEpisode) -> np.ndarray:
    """Bring an environment to the start of an episode, and return its observation [O]."""
    observation, _ = made.reset(seed=episode.seed, options=episode.options)
    if not episode.state:
        return observation
    inner: Any = made.unwrapped
    if not hasattr(inner, "set_state"):
        raise UsageError(f"{environment} cannot start in a recorded state: it has no set_state")
    inner.set_state(*episode.state.values())
    # The recorded state is the start: the first observation is compared after the first step.
    return np.asarray(episode.observations[0])

"""Plays recorded actions in the environment again, and compares observations and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from qc_core.data.formats.source import ReplayableEpisode
from qc_core.documents import Document
from qc_core.envs.make import make_environment
from qc_core.errors import QCError, UsageError

_MAX_REASON = 200


class ReplayResult(Document, frozen=True, kw_only=True):
    """How the environment differs from recorded episodes.

    Attributes:
        episodes: number of episodes that were played.
        steps: number of steps that were compared. The comparison of an episode stops where the
            environment ends it.
        early_ends: episodes that the environment ended before their last recorded step.
        observation_difference: largest absolute difference of a number.
        observation_name: the number with the largest difference.
        episode, step: where it differs: the number of the episode, and the steps before it.
        first_step_difference: largest absolute difference after the first step of an episode. It is
            large if the environment or its start is another one; a difference that grows later
            comes from another version of the simulator.
        reward_difference: largest absolute difference; None if the source has no rewards of its
            own.
    """

    episodes: int
    steps: int
    early_ends: int
    observation_difference: float
    observation_name: str
    episode: int
    step: int
    first_step_difference: float
    reward_difference: float | None


class _Played(NamedTuple):
    """Absolute differences of an episode that was played again.

    Attributes:
        observations: [steps, O], or with the difference of the start [steps + 1, O].
        start: steps before the first row of observations, 0 or 1.
        rewards: [steps], None if none are recorded.
    """

    steps: int
    ended_early: bool
    observations: np.ndarray
    start: int
    rewards: np.ndarray | None


def replay(
    environment: str, episodes: Sequence[ReplayableEpisode], names: Sequence[str]
) -> ReplayResult:
    """Play episodes from their recorded starts.

    Args:
        names: of the numbers of an observation.

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
    compared = [number for number, one in enumerate(played) if one.observations.size]
    if not compared:
        raise UsageError("nothing can be compared: no observation follows a recorded action")
    worst = max(compared, key=lambda number: played[number].observations.max())
    differences = played[worst].observations
    row, column = np.unravel_index(differences.argmax(), differences.shape)
    rewards = [float(one.rewards.max()) for one in played if one.rewards is not None]
    return ReplayResult(
        episodes=len(played),
        steps=sum(one.steps for one in played),
        early_ends=sum(one.ended_early for one in played),
        observation_difference=float(differences[row, column]),
        observation_name=names[int(column)],
        episode=worst,
        step=int(row) + played[worst].start,
        first_step_difference=max(
            float(played[number].observations[: 2 - played[number].start].max())
            for number in compared
        ),
        reward_difference=max(rewards, default=None),
    )


def _replay_one(made: gymnasium.Env, environment: str, episode: ReplayableEpisode) -> _Played:
    recorded = episode.observations
    try:
        observation = _start(made, environment, episode)
        if observation is not None and observation.shape != recorded.shape[1:]:
            raise UsageError(
                f"{environment} has observations of {observation.size} numbers, the data of "
                f"{recorded.shape[1]}"
            )
        observations, rewards, ended = [] if observation is None else [observation], [], False
        for action in episode.actions:
            observation, reward, terminated, truncated, _ = made.step(action)
            observations.append(observation)
            rewards.append(float(reward))
            if ended := terminated or truncated:
                break
    except QCError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise UsageError(
            f"{environment} cannot play the recorded actions ({type(error).__name__}: {reason})"
        ) from error
    start = len(rewards) + 1 - len(observations)
    # The observation after the last step may not be recorded.
    recorded = recorded[start : start + len(observations)]
    return _Played(
        steps=len(rewards),
        ended_early=ended and len(rewards) < len(episode.actions),
        observations=_difference(np.stack(observations)[: len(recorded)], recorded),
        start=start,
        rewards=None
        if episode.rewards is None
        else _difference(np.array(rewards), episode.rewards[: len(rewards)]),
    )


def _difference(played: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    difference = np.abs(np.asarray(played, np.float64) - recorded)
    return np.where(np.isnan(difference), np.inf, difference)


def _start(made: gymnasium.Env, environment: str, episode: ReplayableEpisode) -> np.ndarray | None:
    """Bring an environment to the start of an episode.

    Returns:
        The observation [O], None if `set_state` returns none.
    """
    observation, _ = made.reset(seed=episode.seed, options=episode.options)
    if not episode.state:
        return observation
    inner: Any = made.unwrapped
    if not hasattr(inner, "set_state"):
        raise UsageError(f"{environment} cannot start in a recorded state: it has no set_state")
    return inner.set_state(*episode.state.values())

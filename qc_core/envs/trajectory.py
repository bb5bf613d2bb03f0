"""Record what a policy does and where it gets.

Shapes: T control steps, O observation, A action, X 3 or 2 coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from qc_core.envs.play import LoadPolicy, play_each, play_episode
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkFunction


class Place(NamedTuple):
    """What of a robot is followed.

    Attributes:
        cell: edge in metres of the cells in which its visits are counted.
    """

    what: str
    cell: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One episode, step by step.

    Attributes:
        observations_TO: [T + 1, O], raw units.
        actions_TA: [T, A], environment units.
        place: what `positions_TX` follow; None where the environment tells no position.
        positions_TX: [T + 1, X] in metres; without a place [T + 1, 0].
    """

    observations_TO: np.ndarray
    actions_TA: np.ndarray
    place: Place | None
    positions_TX: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.actions_TA)

    def until(self, steps: int) -> Trajectory:
        """The same episode up to that step."""
        return replace(
            self,
            observations_TO=self.observations_TO[: steps + 1],
            actions_TA=self.actions_TA[:steps],
            positions_TX=self.positions_TX[: steps + 1],
        )


# An arm reaches a metre; a maze has corridors of four.
_EFFECTOR = Place("end effector", 0.05)
_BODY = Place("body", 0.5)


class Recorder(gymnasium.Wrapper):
    """Keeps what passes through an environment since its last reset."""

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        self._place, self._position = _position_of(environment.unwrapped)
        self._observations: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = super().reset(**options)
        self._observations, self._actions, self._positions = [], [], []
        self._keep(observation)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        result = super().step(action)
        self._actions.append(np.array(action, np.float64))
        self._keep(result[0])
        return result

    @property
    def trajectory(self) -> Trajectory:
        return Trajectory(
            observations_TO=np.stack(self._observations),
            actions_TA=np.stack(self._actions),
            place=self._place,
            positions_TX=np.stack(self._positions),
        )

    def _keep(self, observation: np.ndarray) -> None:
        self._observations.append(np.array(observation, np.float64))
        self._positions.append(np.array(self._position(), np.float64))


def record_episode(
    environment: gymnasium.Env, policy: ChunkFunction, seed: int, *, steps: int
) -> Trajectory:
    """Play one episode, or its first `steps` control steps, and keep all of it."""
    recorder = Recorder(environment)
    play_episode(gymnasium.wrappers.TimeLimit(recorder, steps), policy, seed)
    return recorder.trajectory


def record_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    steps: int,
    workers: int = 1,
) -> dict[str, list[Trajectory]]:
    """Let each policy play one episode per seed, as `play_episodes`, and keep all of them.

    Args:
        steps: control steps after which an episode is cut off; they bound what is kept.
    """
    recorded: dict[tuple[str, int], Trajectory] = {}
    with Progress(len(policies) * len(seeds), "exploring", "episode") as progress:
        for name, seed, trajectory in play_each(
            environment, policies, seeds, partial(record_episode, steps=steps), workers=workers
        ):
            recorded[name, seed] = trajectory
            progress.update()
    return {name: [recorded[name, seed] for seed in seeds] for name in policies}


def _position_of(inner: Any) -> tuple[Place | None, Callable[[], Any]]:
    """What of the robot can be followed, and how to ask for its position in metres."""
    if hasattr(inner, "get_xy"):
        return _BODY, inner.get_xy
    if hasattr(inner, "compute_ob_info"):
        # The observation's own effector position is centred and scaled.
        return _EFFECTOR, lambda: inner.compute_ob_info()["proprio/effector_pos"]
    return None, lambda: ()

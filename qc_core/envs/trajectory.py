"""Records the actions of policies and the positions that the robot reaches.

Shapes: T control steps, O observation, A action, X 3 or 2 coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from qc_core.envs.play import LoadPolicy, complete_seeds, iter_episodes, play_episode
from qc_core.envs.recorder import EpisodeRecorder
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkFunction


class Landmark(NamedTuple):
    """The part of a robot whose position is recorded.

    Attributes:
        name: for tables, "end effector" or "body".
        cell_size: edge in metres of the cells in which visited places are counted.
    """

    name: str
    cell_size: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The observations, actions and positions of one episode.

    Attributes:
        observations_TO: float64 [T + 1, O], raw units.
        actions_TA: float64 [T, A], environment units.
        landmark: the part of the robot that `positions_TX` follows; None if the environment
            reports no position.
        positions_TX: float64 [T + 1, X] in metres; [T + 1, 0] without a landmark.
    """

    observations_TO: np.ndarray
    actions_TA: np.ndarray
    landmark: Landmark | None
    positions_TX: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.actions_TA)

    def until(self, steps: int) -> Trajectory:
        """Return the first `steps` control steps."""
        return replace(
            self,
            observations_TO=self.observations_TO[: steps + 1],
            actions_TA=self.actions_TA[:steps],
            positions_TX=self.positions_TX[: steps + 1],
        )


# An arm reaches one metre; the corridors of a maze are four metres wide.
_EFFECTOR = Landmark("end effector", 0.05)
_BODY = Landmark("body", 0.5)


def record_trajectory(
    environment: gymnasium.Env, policy: ChunkFunction, seed: int, *, steps: int
) -> Trajectory:
    """Play one episode, at most `steps` control steps, and return its trajectory."""
    landmark, position = _position_of(environment.unwrapped)
    recorder = EpisodeRecorder(environment, position=position)
    play_episode(gymnasium.wrappers.TimeLimit(recorder, steps), policy, seed)
    recording = recorder.recording()
    return Trajectory(
        observations_TO=recording.observations_TO.astype(np.float64),
        actions_TA=recording.actions_TA.astype(np.float64),
        landmark=landmark,
        positions_TX=recording.positions_TX,
    )


def record_trajectories(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    steps: int,
    workers: int = 1,
) -> dict[str, list[Trajectory]]:
    """Play and record one episode per policy and seed, as `play_episodes` does.

    Args:
        steps: maximum control steps of an episode; limits the memory that recordings need.
    """
    recorded: dict[tuple[str, int], Trajectory] = {}
    with Progress(len(policies) * len(seeds), "exploring", "episode") as progress:
        for name, seed, trajectory in iter_episodes(
            environment, policies, seeds, partial(record_trajectory, steps=steps), workers=workers
        ):
            if trajectory is not None:
                recorded[name, seed] = trajectory
            progress.update()
    return complete_seeds(recorded, policies, seeds)


def _position_of(environment: Any) -> tuple[Landmark | None, Callable[[], Any]]:
    """Return the landmark of an unwrapped environment, and a function for its position."""
    if hasattr(environment, "get_xy"):
        return _BODY, environment.get_xy
    if hasattr(environment, "compute_ob_info"):
        # The observation contains the effector position centred and scaled, not in metres.
        return _EFFECTOR, lambda: environment.compute_ob_info()["proprio/effector_pos"]
    return None, tuple

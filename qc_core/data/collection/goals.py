"""Choose the targets of an episode: at random, or for the environment's task."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium
import numpy as np

from qc_core.data.collection import cubes, puzzle, scene
from qc_core.data.collection.targets import Info, Target


class Goals(Protocol):
    """A sequence of targets for one episode."""

    def choose(self, info: Info) -> Info:
        """Set the next target, and return the state's `info` with it."""
        ...

    def with_target(self, info: Info) -> Info:
        """Return the `info` of a later state with the current target."""
        ...


class RandomGoals:
    """Targets that the environment draws in its data collection mode."""

    def __init__(self, environment: gymnasium.Env, stacking_rate: float) -> None:
        self._environment: Any = environment.unwrapped
        self._stacking_rate = stacking_rate

    def choose(self, info: Info) -> Info:
        return self._environment.set_new_target(p_stack=self._stacking_rate)[1]

    def with_target(self, info: Info) -> Info:
        return info


class TaskGoals:
    """Targets that lead to the goal of the environment's task, chosen from the current state."""

    def __init__(self, environment: gymnasium.Env, rng: np.random.Generator) -> None:
        self._environment: Any = environment.unwrapped
        self._rng = rng
        self._target: Target = {}

    def choose(self, info: Info) -> Info:
        self._target = self._next(info) or self._target
        return self.with_target(info)

    def with_target(self, info: Info) -> Info:
        info = {**info, **self._target}
        if (button := info.get("privileged/target_button")) is not None:
            # A pressed button moves down, and its top with it.
            site = self._environment._button_site_ids[button]
            info["privileged/target_button_top_pos"] = self._environment.data.site_xpos[site].copy()
        return info

    def _next(self, info: Info) -> Target | None:
        task = self._environment.cur_task_info
        if "goal_xyzs" in task:
            table = self._environment._target_sampling_bounds
            return cubes.next_target(info, task["goal_xyzs"], table, self._rng)
        if "goal_button_states" in task:
            return puzzle.next_target(info, task["goal_button_states"], self._environment)
        return scene.next_target(info, task["goal"], self._environment)

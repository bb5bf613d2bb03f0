"""Where an episode's targets come from: the environment's chance, or its task."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium
import numpy as np

from qc_core.data.collection import cubes, puzzle, scene
from qc_core.data.collection.targets import Info, Target


class Goals(Protocol):
    """The targets of one episode, one behind the other."""

    def choose(self, info: Info) -> Info:
        """Set the next target; returns the state's `info` with it."""
        ...

    def seen(self, info: Info) -> Info:
        """A later state's `info` with the same target."""
        ...


class RandomGoals:
    """Whatever the environment, made for data collection, draws."""

    def __init__(self, environment: gymnasium.Env, stacking_rate: float) -> None:
        self._environment: Any = environment.unwrapped
        self._stacking_rate = stacking_rate

    def choose(self, info: Info) -> Info:
        return self._environment.set_new_target(p_stack=self._stacking_rate)[1]

    def seen(self, info: Info) -> Info:
        return info


class TaskGoals:
    """The way to the goal of the environment's task, chosen anew from each state reached."""

    def __init__(self, environment: gymnasium.Env, rng: np.random.Generator) -> None:
        self._environment: Any = environment.unwrapped
        self._rng = rng
        self._target: Target = {}

    def choose(self, info: Info) -> Info:
        self._target = self._next(info) or self._target
        return self.seen(info)

    def seen(self, info: Info) -> Info:
        info = {**info, **self._target}
        if (button := info.get("privileged/target_button")) is not None:
            # The top sinks with the button that is pressed.
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

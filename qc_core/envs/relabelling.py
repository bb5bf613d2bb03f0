"""Computes rewards and masks of an environment's task from recorded simulator states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qc_core.envs.make import make_environment, spec_of
from qc_core.errors import UsageError

# The arrays that a family's rewards depend on; other families depend on positions alone.
_REWARD_INPUTS = {"scene": ("qpos", "button_states"), "puzzle": ("button_states",)}


def has_single_task(environment: str) -> bool:
    """Return whether rewards can be computed from simulator states, as for OGBench's tasks."""
    return "-singletask" in environment


class Relabelling:
    """OGBench's own reward relabelling for a single-task environment.

    Attributes:
        spec: of the environment.
        widths: numbers per state of each array of simulator state that the rewards depend on, by
            the names of OGBench's files.

    Raises:
        UsageError: the environment has no single task.
    """

    def __init__(self, environment: str) -> None:
        self._id = environment
        self._env = make_environment(environment)
        inner: Any = self._env.unwrapped
        if getattr(inner, "_reward_task_id", None) is None:
            self.close()
            raise UsageError(
                f"{environment} has no single task to reward: use a '-singletask-' environment"
            )
        self.spec = spec_of(environment, self._env)
        self._env.reset(seed=0)
        widths = {"qpos": inner.model.nq, "button_states": getattr(inner, "_num_buttons", 0)}
        family = environment.split("-")[0]
        self.widths = {name: widths[name] for name in _REWARD_INPUTS.get(family, ("qpos",))}

    def __call__(self, states: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards and masks, float32 [R], of R states; each array is [R, width]."""
        from ogbench.relabel_utils import relabel_dataset

        columns = {name: states[name] for name in self.widths}
        relabel_dataset(self._id, self._env, columns)
        return columns["rewards"], columns["masks"]

    def close(self) -> None:
        self._env.close()

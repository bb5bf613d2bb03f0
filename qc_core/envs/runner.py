"""Runs a deployed policy in a Gymnasium environment.

Shapes: O observation, A action.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from qc_core.envs.play import rollout
from qc_core.errors import UsageError
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.runtime import ChunkPolicy


class PolicyRunner(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, np.ndarray]):
    """An environment in which `step` takes no action and executes the policy's next action.

    The environment's observations and actions must be vectors of the policy's sizes. The caller
    must make sure that they mean what the policy was trained on.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], policy: ChunkPolicy) -> None:
        """Wrap an environment (UsageError: its sizes differ from the policy's)."""
        super().__init__(env)
        self.policy = policy
        needed = [(policy.observation_size,), (policy.action_size,)]
        spaces = [env.observation_space, env.action_space]
        if [space.shape for space in spaces] != needed:
            raise UsageError(
                f"the policy takes observations [{policy.observation_size}] and gives actions "
                f"[{policy.action_size}], the environment has {spaces[0]} and {spaces[1]}"
            )
        self._observation_O: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the seed decides its initial state and the policy's noise."""
        self._observation_O, info = self.env.reset(seed=seed, options=options)
        self.policy.reset(seed)
        return self._observation_O, info

    def step(
        self, action: None = None
    ) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute the policy's next action (UsageError: before `reset`, or with an action)."""
        if self._observation_O is None:
            raise UsageError("call reset before step: the policy has no observation yet")
        if action is not None:
            raise UsageError("step takes no action: the policy chooses it")
        stepped = self.env.step(self.policy.act(self._observation_O))
        self._observation_O = stepped[0]
        return stepped

    def play(self, seed: int) -> EpisodeResult:
        """Play one episode and return its result."""
        self.policy.reset(seed)
        return rollout(self.env, self.policy.act, seed)

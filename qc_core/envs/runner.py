"""A Gymnasium environment that a pulled policy plays.

Shapes: O observation, A action.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from qc_core.envs.episode_result import EpisodeResult
from qc_core.envs.play import play_with
from qc_core.errors import UsageError
from qc_core.runtime import ChunkPolicy


class PolicyRunner(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, np.ndarray]):
    """`reset`, then `step` without an action: the policy's next one is played.

    Any environment fits whose observations and actions are vectors of the policy's sizes;
    whether they mean what the policy has learned is for the caller to know.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], policy: ChunkPolicy) -> None:
        """Wrap an environment (UsageError: other sizes than the policy's)."""
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
        """Begin an episode; the seed decides its start and the policy's noise."""
        self._observation_O, info = self.env.reset(seed=seed, options=options)
        self.policy.reset(seed)
        return self._observation_O, info

    def step(
        self, action: None = None
    ) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Play the policy's next action (UsageError: before `reset`, or with an action)."""
        if self._observation_O is None:
            raise UsageError("call reset before step: the policy has seen no observation")
        if action is not None:
            raise UsageError("step takes no action: the policy chooses it")
        stepped = self.env.step(self.policy.act(self._observation_O))
        self._observation_O = stepped[0]
        return stepped

    def play(self, seed: int) -> EpisodeResult:
        """Play one episode from its start to its end."""
        self.policy.reset(seed)
        return play_with(self.env, self.policy.act, seed)

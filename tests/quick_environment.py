"""An environment with the sizes of cube-single that takes no time to make or to step."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

QUICK = "tests.quick_environment:Quick-v0"


class Quick(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point that actions move; it is solved far from where it starts, which takes luck."""

    dt = 0.05

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (28,), np.float64)
        self.action_space = Box(-1, 1, (5,), np.float32)
        self._state = np.zeros(28)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._state = self.np_random.normal(size=28)
        return self._state.copy(), {"success": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._state[:5] += 0.1 * action
        self._state[5:] *= 0.99
        success = bool(np.abs(self._state[:5]).max() > 4)
        return self._state.copy(), float(success) - 1, success, False, {"success": float(success)}


gymnasium.register("Quick-v0", f"{__name__}:Quick", max_episode_steps=200)

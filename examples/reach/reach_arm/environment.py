"""The environment: the tip of the arm must rest near a goal."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

_LENGTHS = np.array([0.5, 0.4])  # metres
_ANGLES = ([-1.2, 0.4], [1.2, 2.2])  # rad: range of the first angles, and of those at the goal
_MAX_ACCELERATION = 8.0  # rad/s²
_MAX_SPEED = 3.0  # rad/s
_DISTANCE = 0.06  # metres between tip and goal that count as reached
_PIXELS = 128

Observation = dict[str, np.ndarray]


class ReachArm(gymnasium.Env[Any, np.ndarray]):
    """Two joints are accelerated; each step costs 1 until the tip is at the goal.

    The observation has four parts: `angles` and `speeds` of the joints, and the positions `tip` and
    `goal` in metres. An action is the acceleration of both joints, from -1 to 1.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    dt = 0.05  # seconds per step: the control interval of the policy

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = Dict(
            {
                "angles": Box(-np.inf, np.inf, (2,), np.float64),
                "speeds": Box(-_MAX_SPEED, _MAX_SPEED, (2,), np.float64),
                "tip": Box(-1, 1, (2,), np.float64),
                "goal": Box(-1, 1, (2,), np.float64),
            }
        )
        self.action_space = Box(-1, 1, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self._angles = self.np_random.uniform(*_ANGLES)
        self._speeds = np.zeros(2)
        self._goal = self._joint_positions(self.np_random.uniform(*_ANGLES))[-1]
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self._speeds = self._speeds + self.dt * _MAX_ACCELERATION * np.asarray(action)
        self._speeds = self._speeds.clip(-_MAX_SPEED, _MAX_SPEED)
        self._angles = self._angles + self.dt * self._speeds
        observation = self._observe()
        reached = bool(np.linalg.norm(observation["tip"] - self._goal) < _DISTANCE)
        return observation, float(reached) - 1, reached, False, {"success": reached}

    def render(self) -> np.ndarray:
        """Return an image [128, 128, 3] of the arm and the goal."""
        image = np.full((_PIXELS, _PIXELS, 3), 255, np.uint8)
        positions = [np.zeros(2), *self._joint_positions(self._angles)]
        for start, end in itertools.pairwise(positions):
            for share in np.linspace(0, 1, 60):
                _draw(image, start + share * (end - start), (40, 90, 160), 2)
        _draw(image, self._goal, (200, 50, 50), 3)
        return image

    def _observe(self) -> Observation:
        return {
            "angles": self._angles.copy(),
            "speeds": self._speeds.copy(),
            "tip": self._joint_positions(self._angles)[-1],
            "goal": self._goal.copy(),
        }

    @staticmethod
    def _joint_positions(angles: np.ndarray) -> list[np.ndarray]:
        """Return the positions [2] of the elbow and of the tip, in metres."""
        directions = np.cumsum(angles)
        steps = _LENGTHS[:, None] * np.stack([np.cos(directions), np.sin(directions)], axis=1)
        return list(np.cumsum(steps, axis=0))


def _draw(image: np.ndarray, position: np.ndarray, color: tuple[int, int, int], size: int) -> None:
    column, row = ((position * [1, -1] + 1) * _PIXELS / 2).astype(int)
    image[max(0, row - size) : row + size, max(0, column - size) : column + size] = color

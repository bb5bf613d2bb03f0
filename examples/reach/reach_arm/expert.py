"""The demonstrator: it brings the tip to the goal, with the clumsiness of a person."""

from __future__ import annotations

import numpy as np

_STIFFNESS, _DAMPING = 8.0, 0.6
_NOISE = 0.4


def act(observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the acceleration of both joints, each from -1 to 1.

    Args:
        observation: the parts in alphabetical order: angles, goal, speeds, tip, two numbers each.
        rng: of the episode, so that a seed always gives the same episode.
    """
    angles, goal, speeds, tip = observation.reshape(4, 2)
    # How the tip moves with each joint: around the base, and around the elbow.
    elbow = 0.5 * np.array([np.cos(angles[0]), np.sin(angles[0])])
    moves = np.array([[-tip[1], tip[0]], [-(tip - elbow)[1], (tip - elbow)[0]]])
    pull = _STIFFNESS * moves @ (goal - tip) - _DAMPING * speeds
    return np.clip(pull + rng.normal(0, _NOISE, 2), -1, 1)

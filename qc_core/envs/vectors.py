"""Observations as one vector: which spaces can be flattened, in which order, with which names.

A vector stays as it is. A dictionary or tuple of vectors becomes one vector: its parts follow each
other in the order of the space, which for `gymnasium.spaces.Dict` is the alphabetical order of the
keys. Numbers of a part are named `KEY_0`, `KEY_1`, …, with the keys of nested parts joined by `_`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Box, Dict, MultiBinary, Tuple
from gymnasium.wrappers import FlattenObservation

from qc_core.envs.checked import CheckedEnvironment
from qc_core.errors import UsageError


def with_vector_observations(environment: gymnasium.Env, name: str) -> gymnasium.Env:
    """Return the environment with observations [O].

    Raises:
        UsageError: a part of the observation is not a vector.
    """
    space = environment.observation_space
    observation_names(space, name)
    if isinstance(space, Box) and len(space.shape) == 1:
        return environment
    return FlattenObservation(environment)


def original_space(environment: gymnasium.Env) -> gymnasium.Space:
    """Return the observation space before `with_vector_observations`."""
    if isinstance(environment, CheckedEnvironment):
        environment = environment.env
    if isinstance(environment, FlattenObservation):
        return environment.env.observation_space
    return environment.observation_space


def is_vector(space: gymnasium.Space) -> bool:
    """Return whether a part is a vector or one number; flags (`MultiBinary`) are numbers too."""
    return isinstance(space, Box | MultiBinary) and len(space.shape) <= 1


def observation_names(
    space: gymnasium.Space, what: str, keys: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return a name for each number of an observation (UsageError: a part is not a vector).

    Args:
        what: the environment, for error messages.
        keys: of the part.
    """
    if isinstance(space, Dict | Tuple):
        parts: Any = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        return tuple(
            name for key, part in parts for name in observation_names(part, what, (*keys, str(key)))
        )
    if not is_vector(space):
        part = f"the observation {'/'.join(keys)!r}" if keys else "the observation"
        raise UsageError(
            f"{what}: observations must be vectors or dictionaries of vectors, "
            f"but {part} is {space}"
        )
    size = space.shape[0] if space.shape else 1
    return tuple(f"{'_'.join(keys) or 'observation'}_{i}" for i in range(size))

"""Makes environments by their ids, and describes them."""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.repeatable import RepeatableReset
from qc_core.envs.robomimic_spec import robomimic_spec
from qc_core.errors import UsageError, closest
from qc_core.policy_format.environment_spec import EnvironmentSpec

_ARM_OBSERVATIONS = (
    *(f"joint_position_{i}" for i in range(6)),
    *(f"joint_velocity_{i}" for i in range(6)),
    *(f"effector_{axis}" for axis in "xyz"),
    "effector_yaw_cos",
    "effector_yaw_sin",
    "gripper_opening",
    "gripper_contact",
)
_CUBE_OBSERVATIONS = (
    *(f"position_{axis}" for axis in "xyz"),
    *(f"quaternion_{axis}" for axis in "wxyz"),
    "yaw_cos",
    "yaw_sin",
)
_ARM_ACTIONS = ("effector_dx", "effector_dy", "effector_dz", "effector_dyaw", "gripper_dopening")


def make_environment(environment: str, **options: Any) -> gymnasium.Env[np.ndarray, np.ndarray]:
    """Make an environment whose observations and actions are vectors.

    Args:
        environment: a Gymnasium id; OGBench's and robomimic's ids are registered.
        options: passed to the environment (`width`, `height`, …).

    Raises:
        UsageError: the id is unknown, its simulator is not installed, or its observations or
            actions are not vectors.
    """
    with warnings.catch_warnings():
        # mujoco's viewer warns that there is no screen; this program does not open it.
        warnings.simplefilter("ignore")
        importlib.import_module("ogbench.manipspace.envs.cube_env")
    importlib.import_module("qc_core.envs.robomimic")
    # Some OGBench spaces warn at every construction about a harmless cast.
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    known = list(gymnasium.registry)
    if environment.startswith("robot/"):
        raise UsageError(
            f"{environment} has no simulator here: pretrain and export work, fine-tuning and "
            "playing do not"
        )
    if environment not in known:
        raise UsageError(f"unknown environment {environment!r}.{closest(environment, known)}")
    if environment.startswith("visual-"):
        raise UsageError(f"{environment}: observations must be vectors, but it gives images")
    try:
        made = gymnasium.make(environment, disable_env_checker=True, **options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"environment {environment} cannot be made here: {error}") from error
    if hasattr(made.unwrapped, "compute_ob_info"):
        made = RepeatableReset(made)
    if isinstance(made.observation_space, gymnasium.spaces.Dict):
        # One vector in the order of the keys; the data set formats use the same order.
        made = gymnasium.wrappers.FlattenObservation(made)
    for what, space in (("observations", made.observation_space), ("actions", made.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            made.close()
            raise UsageError(f"{environment}: {what} must be vectors, got {space}")
    return made


def describe(environment: str) -> EnvironmentSpec:
    """Return sizes, names and limits of an environment (raises as `make_environment`).

    robomimic environments are described without their simulator.
    """
    if environment.startswith("robomimic/"):
        return robomimic_spec(environment)
    made = make_environment(environment)
    try:
        return spec_of(environment, made)
    finally:
        made.close()


def spec_of(environment: str, made: gymnasium.Env[np.ndarray, np.ndarray]) -> EnvironmentSpec:
    """Return the description of an environment that `make_environment` made."""
    observation, action = made.observation_space, made.action_space
    assert isinstance(observation, gymnasium.spaces.Box)
    assert isinstance(action, gymnasium.spaces.Box)
    observation_names, action_names = _names(environment, observation.shape[0], action.shape[0])
    limit = made.spec.max_episode_steps if made.spec else None
    if limit is None:
        raise UsageError(f"{environment}: an episode limit is needed, but it has none")
    if not np.isfinite((action.low, action.high)).all():
        raise UsageError(f"{environment}: actions must be bounded, got {action}")
    interval = getattr(made.unwrapped, "_control_timestep", None)
    if interval is None:
        interval = getattr(made.unwrapped, "dt", 1.0)
    return EnvironmentSpec(
        id=environment,
        observation_names=observation_names,
        action_names=action_names,
        action_low=tuple(map(float, action.low)),
        action_high=tuple(map(float, action.high)),
        episode_limit=limit,
        control_interval=float(interval),
    )


def _names(environment: str, observations: int, actions: int) -> tuple[tuple[str, ...], ...]:
    """Return observation and action names in order; numbered names for unknown environments."""
    if re.match(r"cube-(single|double|triple|quadruple)", environment):
        cubes = (observations - len(_ARM_OBSERVATIONS)) // len(_CUBE_OBSERVATIONS)
        named = _ARM_OBSERVATIONS + tuple(
            f"cube_{i}_{name}" for i in range(cubes) for name in _CUBE_OBSERVATIONS
        )
        if len(named) == observations and len(_ARM_ACTIONS) == actions:
            return named, _ARM_ACTIONS
    return (
        tuple(f"observation_{i}" for i in range(observations)),
        tuple(f"action_{i}" for i in range(actions)),
    )

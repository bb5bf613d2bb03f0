"""Makes environments by their ids, and describes them."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from qc_core.envs.checked import CheckedEnvironment
from qc_core.envs.control_interval import control_interval as interval_of
from qc_core.envs.model_memory import free_model_source
from qc_core.envs.registry import find_environment
from qc_core.envs.repeatable import RepeatableReset
from qc_core.envs.robomimic_spec import robomimic_spec
from qc_core.envs.time_limit import reset_limit, step_seconds_for
from qc_core.envs.variants import with_settings
from qc_core.envs.vectors import observation_names, original_space, with_vector_observations
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import LARGEST, EnvironmentSpec

_LIMITED = {"max_episode_steps": 500}
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

    `reset` and `step` raise EnvironmentFailed if it raises, exits or returns something invalid.

    Args:
        environment: an id, as `find_environment` takes it.
        options: passed to the environment (`width`, `height`, …).

    Raises:
        UsageError: the id is unknown, its simulator is not installed, or its observations or
            actions are not vectors.
    """
    # Some OGBench spaces warn at every construction about a harmless cast.
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    registered = find_environment(environment)
    if registered.id.startswith("visual-"):
        raise UsageError(f"{environment}: observations must be vectors, but it gives images")
    try:
        with reset_limit(step_seconds_for(None)):
            made = gymnasium.make(registered, disable_env_checker=True, **options)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"environment {environment} cannot be made here: {reason or type(error).__name__}"
        ) from error
    is_ogbench_arm = hasattr(made.unwrapped, "compute_ob_info")
    if is_ogbench_arm:
        made = RepeatableReset(made)
    try:
        made = with_vector_observations(made, environment)
        if not is_continuous(made.action_space):
            raise UsageError(
                f"{environment}: actions must be vectors of real numbers "
                f"(gymnasium.spaces.Box of floats), got {made.action_space}"
            )
        names = observation_names(original_space(made), environment)
        if is_ogbench_arm:
            # Its first reset has compiled the model. Other environments, such as robosuite's, may
            # read the source later.
            free_model_source()
        return CheckedEnvironment(made, names)
    except UsageError:
        made.close()
        raise


def is_continuous(action: gymnasium.Space) -> bool:
    """Return whether an action is a vector of real numbers; integers would be rounded."""
    return (
        isinstance(action, gymnasium.spaces.Box)
        and len(action.shape) == 1
        and action.dtype.kind == "f"
    )


def episode_limit(environment: str) -> int:
    """Return the steps after which an episode ends, without making the environment.

    Raises:
        UsageError: the id is unknown, or the environment has no limit.
    """
    return _required_limit(environment, find_environment(environment))


def describe(environment: str, control_interval: float = 0.0) -> EnvironmentSpec:
    """Return sizes, names and limits of an environment.

    robomimic environments are described without their simulator.

    Args:
        control_interval: seconds per control step, for environments that do not report it; else 0.

    Raises:
        UsageError: as `make_environment` and `spec_of`.
    """
    if environment.startswith("robomimic/"):
        return robomimic_spec(environment)
    made = make_environment(environment)
    try:
        return spec_of(environment, made, control_interval)
    finally:
        made.close()


def spec_of(
    environment: str, made: gymnasium.Env[np.ndarray, np.ndarray], control_interval: float = 0.0
) -> EnvironmentSpec:
    """Return the description of an environment that `make_environment` made.

    Raises:
        UsageError: it has no episode limit or unbounded actions, or its control interval is
            unknown.
    """
    action = made.action_space
    assert isinstance(action, gymnasium.spaces.Box)
    names = observation_names(original_space(made), environment)
    limit = _required_limit(environment, made.spec)
    if not (np.abs((action.low, action.high)) < LARGEST).all():
        raise UsageError(
            f"{environment}: actions must be bounded, got {action}: give its action space finite "
            "bounds"
        )
    cube_names = _cube_names(environment, len(names), action.shape[0])
    action_names = tuple(f"action_{i}" for i in range(action.shape[0]))
    observed, acted = cube_names or (names, action_names)
    return EnvironmentSpec(
        id=environment,
        observation_names=observed,
        action_names=acted,
        action_low=tuple(map(float, action.low)),
        action_high=tuple(map(float, action.high)),
        episode_limit=limit,
        control_interval=interval_of(made, environment, control_interval).seconds,
    )


def _required_limit(environment: str, registered: EnvSpec | None) -> int:
    limit = registered.max_episode_steps if registered else None
    if limit is None:
        raise UsageError(
            f"{environment}: an episode limit is needed, but it has none: register it with "
            f"max_episode_steps, or give --environment '{with_settings(environment, _LIMITED)}'"
        )
    return limit


def _cube_names(
    environment: str, observations: int, actions: int
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return observation and action names of OGBench's cube environments in order, else None."""
    if re.match(r"cube-(single|double|triple|quadruple)", environment):
        cubes = (observations - len(_ARM_OBSERVATIONS)) // len(_CUBE_OBSERVATIONS)
        named = _ARM_OBSERVATIONS + tuple(
            f"cube_{i}_{name}" for i in range(cubes) for name in _CUBE_OBSERVATIONS
        )
        if len(named) == observations and len(_ARM_ACTIONS) == actions:
            return named, _ARM_ACTIONS
    return None

"""Describes robomimic's low-dimensional tasks without importing robosuite.

Observations are in the order of the paper: end effector, gripper, then robosuite's object state.
The object state is in the order of robosuite 1.5 and of its datasets (`low_dim_v15.hdf5`): for can
and square, the pose relative to the gripper comes first, then the pose. In robosuite 1.4 the pose
came first. Names are robosuite's sensors with an axis. Quaternions are x, y, z, w.
"""

from __future__ import annotations

from typing import NamedTuple

from qc_core.errors import UsageError, closest
from qc_core.policy_format.environment_spec import EnvironmentSpec


class Task(NamedTuple):
    """A robomimic task.

    Attributes:
        robosuite_name: robosuite's name of the environment, as in a file's `env_args`.
        object_names: names of the numbers in `object` (robosuite calls it `object-state`).
        episode_limit: control steps.
    """

    robosuite_name: str
    object_names: tuple[str, ...]
    episode_limit: int


def _position(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in "xyz")


def _quaternion(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in "xyzw")


def _pose(name: str) -> tuple[str, ...]:
    return _position(f"{name}_pos") + _quaternion(f"{name}_quat")


def _object(name: str) -> tuple[str, ...]:
    relative = (f"{name}_to_robot0_{part}" for part in _pose("eef"))
    return tuple(relative) + _pose(name)


TASKS = {
    "robomimic/lift-v0": Task("Lift", _pose("cube") + _position("gripper_to_cube_pos"), 300),
    "robomimic/can-v0": Task("PickPlaceCan", _object("Can"), 300),
    "robomimic/square-v0": Task("NutAssemblySquare", _object("SquareNut"), 400),
}

# Keys of a robomimic observation in the order in which they are joined; the object follows.
ROBOT_KEYS = {
    "robot0_eef_pos": _position("robot0_eef_pos"),
    "robot0_eef_quat": _quaternion("robot0_eef_quat"),
    "robot0_gripper_qpos": ("robot0_gripper_qpos_0", "robot0_gripper_qpos_1"),
}
# End effector displacements in controller units, each in [-1, 1]; the gripper closes at 1.
_ACTIONS = (
    *(f"effector_d{axis}" for axis in "xyz"),
    *(f"effector_rotation_d{axis}" for axis in "xyz"),
    "gripper",
)
# Version of robosuite whose environments policies play in.
ROBOSUITE = 1, 5
CONTROL_FREQUENCY = 20
ROBOT = "Panda"
# Displacements of the end effector, at most 5 cm and 0.5 rad per step.
ARM_CONTROLLER = {
    "type": "OSC_POSE",
    "input_type": "delta",
    "input_min": -1,
    "input_max": 1,
    "output_min": [-0.05] * 3 + [-0.5] * 3,
    "output_max": [0.05] * 3 + [0.5] * 3,
    "impedance_mode": "fixed",
    "kp": 150,
    "damping_ratio": 1,
    "uncouple_pos_ori": True,
}


def robomimic_spec(environment: str) -> EnvironmentSpec:
    """Return sizes, names and limits of a robomimic task (UsageError: unknown task)."""
    if environment not in TASKS:
        raise UsageError(
            f"unknown robomimic task {environment!r}: one of {', '.join(TASKS)}."
            + closest(environment, list(TASKS))
        )
    task = TASKS[environment]
    robot_names = tuple(name for names in ROBOT_KEYS.values() for name in names)
    return EnvironmentSpec(
        id=environment,
        observation_names=robot_names + task.object_names,
        action_names=_ACTIONS,
        action_low=(-1.0,) * len(_ACTIONS),
        action_high=(1.0,) * len(_ACTIONS),
        episode_limit=task.episode_limit,
        control_interval=1 / CONTROL_FREQUENCY,
    )

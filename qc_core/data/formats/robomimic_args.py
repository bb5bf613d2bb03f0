"""Reads the environment that a robomimic file was recorded in, and refuses one that differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from qc_core.documents import Document
from qc_core.envs.robomimic_spec import (
    ARM_CONTROLLER,
    CONTROL_FREQUENCY,
    ROBOT,
    TASKS,
    robomimic_spec,
)
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec


class RecordedTask(NamedTuple):
    """The task of a file.

    Attributes:
        spec: of the environment in which policies are played.
        version: of robosuite, (major, minor).
        pose_first: whether an object's pose comes first in the file.
    """

    spec: EnvironmentSpec
    version: tuple[int, int]
    pose_first: bool


class EnvArgs(Document, frozen=True, kw_only=True, rename="lower"):
    """The JSON attribute `env_args`; the oldest files do not contain robosuite's version."""

    env_name: str
    env_version: str | None = None
    env_kwargs: dict[str, Any] | None = None


def task_of(arguments: EnvArgs, path: str) -> RecordedTask:
    """Return the task in whose environment a file was recorded.

    Raises:
        UsageError: the task is unknown, or a setting of the environment differs from the one that
            policies are played in; the message names it.
    """
    name = arguments.env_name
    known = {task.robosuite_name: environment for environment, task in TASKS.items()}
    if name not in known:
        raise UsageError(
            f"{path}: robosuite environment {name!r} is unknown (one of {', '.join(known)}): to "
            "train without a simulator, give --environment robot/NAME"
        )
    spec = robomimic_spec(known[name])
    for setting, (wanted, got) in _settings(arguments.env_kwargs or {}, spec).items():
        if got is not None and not _equal(wanted, got):
            raise UsageError(
                f"{path} was recorded in another environment than {spec.id}: {setting} is "
                f"{got!r}, it must be {wanted!r}{_REMEDIES.get(setting, '')}"
            )
    found = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", arguments.env_version or "1.0")
    if found is None:
        raise UsageError(
            f"{path}, attribute env_args of /data: env_version is not a version: "
            f"{arguments.env_version!r}"
        )
    version = int(found[1]), int(found[2] or 0)
    # Lift has the same order in all versions.
    return RecordedTask(spec, version, pose_first=version < (1, 5) and name != "Lift")


_REMEDIES = {
    "control_delta": ": its actions are absolute poses; convert them to displacements",
    "input_type": ": its actions are absolute poses; convert them to displacements",
    "reward_shaping": ": extract the data again without --shaped",
}


def _settings(kwargs: Mapping[str, Any], spec: EnvironmentSpec) -> dict[str, tuple[Any, Any]]:
    """Return (wanted, recorded) by setting; a recorded setting is None if the file lacks it."""
    controller = kwargs.get("controller_configs")
    if isinstance(controller, list) and len(controller) == 1:
        controller = controller[0]
    if not isinstance(controller, dict):
        controller = {}
    if isinstance(parts := controller.get("body_parts"), dict):
        # robosuite from 1.5 on; `arms` in some of its releases.
        arms = parts.get("arms", parts)
        controller = arms.get("right") if isinstance(arms, dict) else {}
        controller = controller if isinstance(controller, dict) else {}
    robots = kwargs.get("robots")
    horizon = None if kwargs.get("ignore_done", False) else kwargs.get("horizon")
    found = {
        "robots": (ROBOT, robots[0] if isinstance(robots, list) and len(robots) == 1 else robots),
        "control_freq": (CONTROL_FREQUENCY, kwargs.get("control_freq")),
        "reward_shaping": (False, kwargs.get("reward_shaping")),
        "horizon": (spec.episode_limit, horizon),
        "control_delta": (True, controller.get("control_delta")),
        "damping": (ARM_CONTROLLER["damping_ratio"], controller.get("damping")),
    }
    for key, wanted in ARM_CONTROLLER.items():
        found[key] = (wanted, controller.get(key))
    return found


def _equal(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, list | int | float) and not isinstance(wanted, bool):
        try:
            return bool(np.allclose(np.asarray(got, float), np.asarray(wanted, float)))
        except (TypeError, ValueError):
            return False
    return wanted == got

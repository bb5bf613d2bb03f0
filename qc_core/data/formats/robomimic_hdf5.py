"""robomimic's low-dimensional HDF5 files.

`dones` mark every solved state and the end of a demonstration, and an episode ends at each of
them, as in the paper's code: a demonstration that stays solved for a while becomes one long
episode and some of a single transition.

Files of robosuite before 1.5 (`low_dim_v141.hdf5`) have an object's pose before its pose relative
to the gripper; they are brought into the order of 1.5, which the environments have.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.source import Source, require_finite, rows_of
from qc_core.envs.robomimic_spec import CONTROL_FREQUENCY, ROBOT_KEYS, TASKS, robomimic_spec
from qc_core.errors import UsageError, closest
from qc_core.policy_format.environment_spec import EnvironmentSpec

# An episode is read whole; the longest real ones have a few hundred rows.
_MOST_ROWS = 1_000_000
# Numbers of a position and a quaternion.
_POSE = 7
# What the library raises when a file is damaged.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)


def open_robomimic(path: Path, demo_filter: str = "") -> Source:
    """The demonstrations of a file, or those that one of its filters lists.

    Raises:
        UsageError: missing, truncated or not HDF5; of a task that is not known here; an unknown
            filter.
    """
    with _opened(path) as file:
        data = _member(path, file, "data")
        spec, _ = _spec(path, data)
        demos = sorted(
            (name for name in data if re.fullmatch(r"demo_\d{1,9}", name)),
            key=lambda name: int(name.removeprefix("demo_")),
        )
        filters = _filters(path, file)
        if demo_filter:
            if demo_filter not in filters:
                names = ", ".join(filters) or "none"
                raise UsageError(
                    f"{path} has no filter {demo_filter!r}: it has {names}."
                    + closest(demo_filter, list(filters))
                )
            chosen = filters[demo_filter]
            if missing := chosen - set(demos):
                raise UsageError(
                    f"{path} is damaged: mask/{demo_filter} lists {min(missing)}, "
                    "which is not in the file"
                )
            demos = [name for name in demos if name in chosen]
        if not demos:
            raise UsageError(f"{path} holds no demonstrations (groups data/demo_0, data/demo_1, …)")
        dones = [_values(path, _member(path, data, name), "dones", ()) > 0 for name in demos]
    return Source(
        kind="robomimic",
        name=str(path),
        spec=spec,
        # Each episode brings a last observation of its own.
        rows=sum(len(ends) + max(1, int(ends.sum())) for ends in dones),
        read=partial(_read, path, demos),
        files={path.name: path},
        origin={"demonstrations": len(demos)} | ({"filter": demo_filter} if demo_filter else {}),
        filters={name: len(chosen) for name, chosen in filters.items()},
    )


def _read(path: Path, demos: list[str]) -> Iterator[Episodes]:
    with _opened(path) as file:
        data = _member(path, file, "data")
        spec, pose_first = _spec(path, data)
        for name in demos:
            yield _episodes(path, _member(path, data, name), spec, pose_first)


def _episodes(path: Path, demo: Any, spec: EnvironmentSpec, pose_first: bool) -> Episodes:
    actions = _values(path, demo, "actions", (spec.action_size,))
    rewards = _values(path, demo, "rewards", ())
    dones = _values(path, demo, "dones", ()) > 0
    observations = _observations(path, _member(path, demo, "obs"), spec, pose_first)
    if "next_obs" in demo:
        following = _observations(path, _member(path, demo, "next_obs"), spec, pose_first)
        rows = len(dones)
    else:
        following = np.concatenate([observations[1:], observations[-1:]])
        # Where the last row is not solved, it has no next observation and can only be one.
        rows = len(dones) if len(dones) and dones[-1] else len(dones) - 1
    lengths = {len(array) for array in (actions, rewards, dones, observations, following)}
    if len(lengths) > 1 or rows < 1:
        raise UsageError(
            f"{path}, {demo.name}: actions, rewards, dones and observations must have equally "
            f"many rows and at least one transition, got {sorted(lengths)}"
        )
    dones = dones[:rows]
    ends = dones.copy()
    ends[-1] = True
    return Episodes(
        observations=rows_of(observations[:rows], following[:rows], ends),
        actions=actions[:rows],
        rewards=rewards[:rows],
        masks=1 - dones.astype(np.float32),
        terminals=ends.astype(np.float32),
    )


def _observations(path: Path, group: Any, spec: EnvironmentSpec, pose_first: bool) -> np.ndarray:
    """[rows, O]: the robot's keys, then the object's."""
    object_key = "object" if "object" in group else "object-state"
    sizes = {key: len(names) for key, names in ROBOT_KEYS.items()}
    sizes[object_key] = spec.observation_size - sum(sizes.values())
    parts = [_values(path, group, key, (size,)) for key, size in sizes.items()]
    if len({len(part) for part in parts}) > 1:
        raise UsageError(f"{path}, {group.name}: the keys must have equally many rows")
    if pose_first:
        parts[-1] = np.roll(parts[-1], _POSE, axis=1)
    return np.concatenate(parts, axis=1)


def _values(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """[rows, *shape] float32, finite."""
    values = _array(path, group, name, shape)[()]
    require_finite(f"{path}, {group.name}", name, values)
    return values.astype(np.float32)


def _array(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """A numeric HDF5 dataset of [rows, *shape] that lies in this file, not yet read."""
    import h5py

    array = _member(path, group, name)
    what = f"{path}, {group.name}/{name}"
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiub":
        raise UsageError(f"{what} must be a numeric array")
    if array.is_virtual or array.external:
        raise UsageError(
            f"{what} lies in another file, which is not followed: copy it into this one"
        )
    if len(array.shape) != 1 + len(shape) or array.shape[1:] != shape:
        wanted = ", ".join(["rows", *map(str, shape)])
        raise UsageError(f"{what} must have shape [{wanted}], got {list(array.shape)}")
    if len(array) > _MOST_ROWS:
        raise UsageError(f"{what}: an episode has at most {_MOST_ROWS:,} rows, got {len(array):,}")
    return array


def _member(path: Path, group: Any, name: str) -> Any:
    """A member of a group, unless it is a link: one may lead to any file of this machine."""
    import h5py

    what = f"{path}, {group.name.rstrip('/')}/{name}"
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        raise UsageError(f"{what} is missing: is this a robomimic low_dim file?")
    if not isinstance(link, h5py.HardLink):
        raise UsageError(f"{what} is a link, which is not followed: copy it into this file")
    return group[name]


def _spec(path: Path, data: Any) -> tuple[EnvironmentSpec, bool]:
    """Of the task that the file's `env_args` name; whether an object's pose comes first there."""
    text = data.attrs.get("env_args")
    try:
        arguments = json.loads(text)
        name = arguments["env_name"]
        frequency = arguments.get("env_kwargs", {}).get("control_freq", CONTROL_FREQUENCY)
        # The oldest files do not say which robosuite made them.
        version = str(arguments.get("env_version") or "1.0")
        before_1_5 = tuple(map(int, version.split(".")[:2])) < (1, 5)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path}: attribute env_args of /data must be JSON with env_name, "
            "and env_version a version"
        ) from error
    known = {task.robosuite_name: environment for environment, task in TASKS.items()}
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"{path} is of robosuite's {name!r}; known here are {', '.join(known)}")
    if frequency != CONTROL_FREQUENCY:
        raise UsageError(f"{path}: control at {CONTROL_FREQUENCY} Hz is needed, got {frequency!r}")
    return robomimic_spec(known[name]), before_1_5 and name != "Lift"


def _filters(path: Path, file: Any) -> dict[str, set[str]]:
    """Demonstrations by filter."""
    if "mask" not in file:
        return {}
    mask = _member(path, file, "mask")
    filters = {}
    for name in mask:
        listed = _member(path, mask, name)
        if getattr(listed, "ndim", None) != 1 or listed.dtype.kind not in "SO":
            raise UsageError(f"{path}, /mask/{name} must be a list of names")
        filters[name] = {
            entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry)
            for entry in listed[()]
        }
    return filters


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An HDF5 file; whatever damage the library meets in it is UsageError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is not an HDF5 file, or it is damaged: {reason}") from error

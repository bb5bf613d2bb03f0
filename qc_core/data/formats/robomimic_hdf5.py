"""Reads robomimic's low-dimensional HDF5 files.

`dones` mark every solved state and the end of a demonstration. An episode ends at each of them, as
in the paper's code: if a demonstration stays solved for k more steps, each of these steps becomes
an episode of one transition.

In files of robosuite before 1.5 (`low_dim_v141.hdf5`), an object's pose comes before its pose
relative to the gripper. They are converted to the order of 1.5, which the environments use.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.source import Source, observation_rows, require_finite
from qc_core.documents import Document
from qc_core.envs.robomimic_spec import CONTROL_FREQUENCY, ROBOT_KEYS, TASKS, robomimic_spec
from qc_core.errors import UsageError, closest
from qc_core.policy_format.environment_spec import EnvironmentSpec

# An episode is read at once; real ones have at most a few hundred rows.
_MAX_ROWS = 1_000_000
# A position and a quaternion.
_POSE = 7
# Exceptions that the library raises for damaged files.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)


class _EnvKwargs(Document, frozen=True, kw_only=True, rename="lower"):
    control_freq: float = CONTROL_FREQUENCY


class _EnvArgs(Document, frozen=True, kw_only=True, rename="lower"):
    """The JSON attribute `env_args`; the oldest files do not contain robosuite's version."""

    env_name: str
    env_version: str | None = None
    env_kwargs: _EnvKwargs = _EnvKwargs()


def open_robomimic(path: Path, demo_filter: str = "") -> Source:
    """Open the demonstrations of a file, or those that one of its filters lists.

    Raises:
        UsageError: the file is missing, truncated or not HDF5, or its task or the filter is
            unknown.
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
            raise UsageError(
                f"{path} contains no demonstrations (groups data/demo_0, data/demo_1, …)"
            )
        dones = [_values(path, _member(path, data, name), "dones", ()) > 0 for name in demos]
    return Source(
        kind="robomimic",
        name=str(path),
        spec=spec,
        # Each episode has one more observation than transitions.
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
        next_observations = _observations(path, _member(path, demo, "next_obs"), spec, pose_first)
        rows = len(dones)
    else:
        next_observations = np.concatenate([observations[1:], observations[-1:]])
        # The last row of an unsolved demonstration has no next observation: it serves only as the
        # next observation of the row before it.
        rows = len(dones) if len(dones) and dones[-1] else len(dones) - 1
    lengths = {len(array) for array in (actions, rewards, dones, observations, next_observations)}
    if len(lengths) > 1 or rows < 1:
        raise UsageError(
            f"{path}, {demo.name}: actions, rewards, dones and observations must have equally "
            f"many rows and at least one transition, got {sorted(lengths)}"
        )
    dones = dones[:rows]
    ends = dones.copy()
    ends[-1] = True
    return Episodes(
        observations=observation_rows(observations[:rows], next_observations[:rows], ends),
        actions=actions[:rows],
        rewards=rewards[:rows],
        # As in the paper: the end of a demonstration counts as solved, like every other `done`.
        masks=1 - dones.astype(np.float32),
        terminals=ends.astype(np.float32),
    )


def _observations(path: Path, group: Any, spec: EnvironmentSpec, pose_first: bool) -> np.ndarray:
    """Return observations [rows, O]: the robot's keys, then the object's."""
    object_key = "object" if "object" in group else "object-state"
    sizes = {key: len(names) for key, names in ROBOT_KEYS.items()}
    sizes[object_key] = spec.observation_size - sum(sizes.values())
    parts = [_values(path, group, key, (size,)) for key, size in sizes.items()]
    if len({len(part) for part in parts}) > 1:
        raise UsageError(f"{path}, {group.name}: the keys must have equally many rows")
    # Two poses of 7 numbers each: [pose, relative pose] becomes [relative pose, pose].
    if pose_first:
        parts[-1] = np.roll(parts[-1], _POSE, axis=1)
    return np.concatenate(parts, axis=1)


def _values(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read finite values, float32 [rows, *shape]."""
    values = _array(path, group, name, shape)[()]
    require_finite(f"{path}, {group.name}", name, values)
    return values.astype(np.float32)


def _array(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Return a numeric HDF5 dataset [rows, *shape] of this file without reading it."""
    import h5py

    array = _member(path, group, name)
    what = f"{path}, {group.name}/{name}"
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiub":
        raise UsageError(f"{what} must be a numeric array")
    if array.is_virtual or array.external:
        raise UsageError(f"{what} is in another file, which is not read: copy it into this one")
    if len(array.shape) != 1 + len(shape) or array.shape[1:] != shape:
        wanted = ", ".join(["rows", *map(str, shape)])
        raise UsageError(f"{what} must have shape [{wanted}], got {list(array.shape)}")
    if len(array) > _MAX_ROWS:
        raise UsageError(f"{what}: an episode has at most {_MAX_ROWS:,} rows, got {len(array):,}")
    return array


def _member(path: Path, group: Any, name: str) -> Any:
    """Return a member of a group; refuse links, which may lead to any file of this machine."""
    import h5py

    what = f"{path}, {group.name.rstrip('/')}/{name}"
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        raise UsageError(f"{what} is missing: is this a robomimic low_dim file?")
    if not isinstance(link, h5py.HardLink):
        raise UsageError(f"{what} is a link, which is not followed: copy it into this file")
    return group[name]


def _spec(path: Path, data: Any) -> tuple[EnvironmentSpec, bool]:
    """Return the task's description, and whether an object's pose comes first in the file."""
    what = f"{path}, attribute env_args of /data"
    text = data.attrs.get("env_args")
    if not isinstance(text, str | bytes):
        raise UsageError(f"{what} must be JSON, got {type(text).__name__}")
    arguments = documents.parse(text, _EnvArgs, what)
    name, frequency = arguments.env_name, arguments.env_kwargs.control_freq
    known = {task.robosuite_name: environment for environment, task in TASKS.items()}
    if name not in known:
        raise UsageError(
            f"{path}: robosuite environment {name!r} is unknown (one of {', '.join(known)})"
        )
    if frequency != CONTROL_FREQUENCY:
        raise UsageError(
            f"{path}: the control frequency must be {CONTROL_FREQUENCY} Hz, got {frequency:g}"
        )
    version = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", arguments.env_version or "1.0")
    if version is None:
        raise UsageError(f"{what}: env_version is not a version: {arguments.env_version!r}")
    # Lift has the same order in all versions.
    pose_first = (int(version[1]), int(version[2] or 0)) < (1, 5) and name != "Lift"
    return robomimic_spec(known[name]), pose_first


def _filters(path: Path, file: Any) -> dict[str, set[str]]:
    """Return the names of demonstrations by filter."""
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
    """Open an HDF5 file (UsageError: the library finds damage while the file is open)."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is not an HDF5 file, or it is damaged: {reason}") from error

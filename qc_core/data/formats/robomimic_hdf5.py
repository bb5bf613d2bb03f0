"""Reads robomimic's low-dimensional HDF5 files.

`dones` mark solved states, the end of a demonstration, or both, as `--done_mode` of robomimic's
script says. An episode ends at each of them, as in the paper's code: if a demonstration stays
solved for k more steps, each of these steps becomes an episode of one transition. The reward
decides whether a step is solved, because a failed demonstration may end with `done` too.

In files of robosuite before 1.5 (`low_dim_v141.hdf5`), an object's pose comes before its pose
relative to the gripper. They are converted to the order of 1.5, which the environments use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.config.settings import DataConfig
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.hdf5 import member, numeric_array, opened
from qc_core.data.formats.outcomes import OutcomeRule, Steps, Survey
from qc_core.data.formats.robomimic_args import EnvArgs, RecordedTask, task_of
from qc_core.data.formats.source import (
    ReplayableEpisode,
    Source,
    observation_rows,
    require_finite,
)
from qc_core.envs.robomimic_spec import ROBOSUITE, ROBOT_KEYS
from qc_core.errors import UsageError, closest

# An episode is read at once; real ones have at most a few hundred rows.
_MAX_ROWS = 1_000_000
# A position and a quaternion.
_POSE = 7
# The simulator's states of a demonstration, and its model, an attribute.
_STATES, _MODEL = "states", "model_file"
_HINT = ": is this a robomimic low_dim file?"


def open_robomimic(path: Path, config: DataConfig) -> Source:
    """Open the demonstrations of a file, or those that one of its filters lists.

    Args:
        config: the filter, and what counts as success.

    Raises:
        UsageError: the file is missing, truncated or not HDF5, its task or the filter is unknown,
            or it was recorded in an environment with other settings.
    """
    demo_filter = config.filter
    with opened(path) as file:
        data = _member(path, file, "data")
        spec = _task(path, data).spec
        demos, filters = choose_demonstrations(path, file, demo_filter)
        survey = Survey()
        # Each episode has one more observation than transitions.
        rows = 0
        for name in demos:
            steps = _steps(path, _member(path, data, name))
            survey.add(steps)
            rows += len(steps.last) + int((_done(steps) | steps.last).sum())
        rule = OutcomeRule(str(path), survey, config.success, trust_done=False)
        first = _member(path, data, demos[0])
        has_starts = _STATES in first and _MODEL in first.attrs
    return Source(
        kind="robomimic",
        name=str(path),
        spec=spec,
        rows=rows,
        read=partial(_read, path, demos, rule),
        files={path.name: path},
        origin={"demonstrations": len(demos)} | ({"filter": demo_filter} if demo_filter else {}),
        filters=filters,
        notes=rule.notes,
        reports_success=rule.reports_success,
        replayable=partial(_replayable, path, demos) if has_starts else None,
    )


def choose_demonstrations(
    path: Path, file: Any, demo_filter: str
) -> tuple[list[str], dict[str, int]]:
    """Return the groups of demonstrations in their order, and the number in each filter.

    Args:
        demo_filter: the filter that chooses them; empty for all.

    Raises:
        UsageError: there is no such filter, or no demonstration.
    """
    demos = sorted(
        (name for name in _member(path, file, "data") if re.fullmatch(r"demo_\d{1,9}", name)),
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
        raise UsageError(f"{path} contains no demonstrations (groups data/demo_0, data/demo_1, …)")
    return demos, {name: len(chosen) for name, chosen in filters.items()}


def _read(path: Path, demos: list[str], rule: OutcomeRule) -> Iterator[Episodes]:
    with opened(path) as file:
        data = _member(path, file, "data")
        task = _task(path, data)
        for name in demos:
            yield _episodes(path, _member(path, data, name), task, rule)


def _replayable(path: Path, demos: list[str]) -> Iterator[ReplayableEpisode]:
    with opened(path) as file:
        data = _member(path, file, "data")
        task = _task(path, data)
        if task.version != ROBOSUITE:
            recorded, played = (".".join(map(str, v)) for v in (task.version, ROBOSUITE))
            raise UsageError(
                f"{path} cannot be played again: it was recorded with robosuite {recorded}, whose "
                f"models robosuite {played} does not load"
            )
        for name in demos:
            demo = _member(path, data, name)
            observations, following = _both_observations(path, demo, task)
            steps = _steps(path, demo)
            # The environment ends at the first success.
            rows = int(np.argmax(_done(steps) | steps.last)) + 1
            is_followed = "next_obs" in demo or rows < len(observations)
            after = following[rows - 1 : rows] if is_followed else following[:0]
            states = numeric_array(path, demo, _STATES, _HINT)
            yield ReplayableEpisode(
                observations=np.concatenate([observations[:rows], after]),
                actions=values_of(path, demo, "actions", (task.spec.action_size,))[:rows],
                rewards=None if steps.rewards is None else steps.rewards[:rows],
                state={_MODEL: str(demo.attrs[_MODEL]), _STATES: states[0]},
            )


def _steps(path: Path, demo: Any) -> Steps:
    if "obs" not in demo:
        raise UsageError(
            f"{path}, {demo.name} has no observations: extract them with robomimic's "
            "dataset_states_to_obs.py"
        )
    done = values_of(path, demo, "dones", ()) > 0
    rewards = values_of(path, demo, "rewards", ())
    if not 0 < len(done) == len(rewards):
        raise UsageError(
            f"{path}, {demo.name}: rewards and dones must have equally many rows and at least "
            f"one, got {len(rewards)} and {len(done)}"
        )
    return Steps(last=np.arange(len(done)) == len(done) - 1, rewards=rewards, done=done)


def _done(steps: Steps) -> np.ndarray:
    assert steps.done is not None
    return steps.done


def _episodes(path: Path, demo: Any, task: RecordedTask, rule: OutcomeRule) -> Episodes:
    actions = values_of(path, demo, "actions", (task.spec.action_size,))
    steps = _steps(path, demo)
    observations, next_observations = _both_observations(path, demo, task)
    lengths = {len(array) for array in (actions, steps.last, observations, next_observations)}
    if len(lengths) > 1:
        raise UsageError(
            f"{path}, {demo.name}: actions, rewards, dones and observations must have equally "
            f"many rows, got {sorted(lengths)}"
        )
    outcomes = rule(steps)
    ends = _done(steps) | steps.last
    return Episodes(
        observations=observation_rows(observations, next_observations, ends),
        actions=actions,
        rewards=outcomes.rewards,
        masks=1 - outcomes.terminated.astype(np.float32),
        terminals=ends.astype(np.float32),
        successes=outcomes.success,
    )


def _both_observations(path: Path, demo: Any, task: RecordedTask) -> tuple[np.ndarray, np.ndarray]:
    """Return observations [rows, O] before and after each row."""
    observations = _observations(path, _member(path, demo, "obs"), task)
    if "next_obs" in demo:
        return observations, _observations(path, _member(path, demo, "next_obs"), task)
    # The observation after the last row is not recorded, so the last one is repeated.
    return observations, np.concatenate([observations[1:], observations[-1:]])


def _observations(path: Path, group: Any, task: RecordedTask) -> np.ndarray:
    """Return observations [rows, O]: the robot's keys, then the object's."""
    object_key = "object" if "object" in group else "object-state"
    sizes = {key: len(names) for key, names in ROBOT_KEYS.items()}
    sizes[object_key] = task.spec.observation_size - sum(sizes.values())
    parts = [values_of(path, group, key, (size,)) for key, size in sizes.items()]
    if len({len(part) for part in parts}) > 1:
        raise UsageError(f"{path}, {group.name}: the keys must have equally many rows")
    # Two poses of 7 numbers each: [pose, relative pose] becomes [relative pose, pose].
    if task.pose_first:
        parts[-1] = np.roll(parts[-1], _POSE, axis=1)
    return np.concatenate(parts, axis=1)


def values_of(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read finite values, float32 [rows, *shape]."""
    values = _array(path, group, name, shape)[()]
    require_finite(f"{path}, {group.name}", name, values)
    return values.astype(np.float32).reshape(len(values), *shape)


def _array(path: Path, group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Return a numeric HDF5 dataset [rows, *shape] of this file without reading it."""
    array = numeric_array(path, group, name, _HINT)
    what = f"{path}, {group.name}/{name}"
    # Rewards and dones may be columns, [rows, 1].
    if array.shape[1:] not in (shape, shape or (1,)) or not array.shape:
        wanted = ", ".join(["rows", *map(str, shape)])
        raise UsageError(f"{what} must have shape [{wanted}], got {list(array.shape)}")
    if len(array) > _MAX_ROWS:
        raise UsageError(f"{what}: an episode has at most {_MAX_ROWS:,} rows, got {len(array):,}")
    return array


def _member(path: Path, group: Any, name: str) -> Any:
    return member(path, group, name, _HINT)


def _task(path: Path, data: Any) -> RecordedTask:
    """Return the task that the file was recorded in."""
    if "env_args" not in data.attrs and "env" in data.attrs:
        raise UsageError(
            f"{path} is a raw demonstration of robosuite, without observations and rewards: "
            "convert it with robomimic's convert_robosuite.py, then dataset_states_to_obs.py"
        )
    what = f"{path}, attribute env_args of /data"
    text = data.attrs.get("env_args")
    if not isinstance(text, str | bytes):
        raise UsageError(f"{what} must be JSON, got {type(text).__name__}")
    return task_of(documents.parse(text, EnvArgs, what), str(path))


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

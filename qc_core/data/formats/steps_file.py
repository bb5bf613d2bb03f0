"""Reads files in which every row is a step with its reward: your own npz files, and D4RL's HDF5.

`step_columns` chooses the arrays. `outcomes` decides success and ends where the arrays leave them
open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from qc_core.config.settings import ROBOT, Config
from qc_core.data.dataset.dataset import Episodes, require_environment
from qc_core.data.formats.action_range import ActionRange
from qc_core.data.formats.hdf5 import HDF5_SUFFIXES
from qc_core.data.formats.npz_file import Shapes
from qc_core.data.formats.ogbench_npz import npz_files
from qc_core.data.formats.outcomes import OutcomeRule, Steps, Survey
from qc_core.data.formats.robot import describe_robot, environment_of
from qc_core.data.formats.source import ReplayableEpisode, Source, observation_rows, start_of
from qc_core.data.formats.step_columns import (
    ACTIONS,
    DONES,
    EPISODES,
    MASKS,
    NEXT_OBSERVATIONS,
    REWARDS,
    SUCCESS,
    TERMINALS,
    TIMEOUTS,
    Columns,
    choose_columns,
)
from qc_core.data.formats.step_tables import array_names, is_hdf5, open_table
from qc_core.envs.make import describe
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

# The simulator's state in OGBench's files.
_OGBENCH = ("qpos", "button_states")

_BLOCK_ROWS = 25_000
# Seconds; robots are hardly controlled more slowly.
_LONG_INTERVAL = 2.0

Block = dict[str, np.ndarray]


def is_steps(path: Path, environment: str | None) -> bool:
    """Return whether the rows of a file, or of a folder's first file, are steps.

    In OGBench's form, an episode has one row more than steps, and rewards follow from the state of
    the simulator. robomimic's files have a group for each demonstration.

    Args:
        environment: that the data are read for, None if it is unknown.

    Raises:
        UsageError: the file is damaged.
    """
    file = _files(path)[0][0]
    names = set(array_names(file))
    if not names.isdisjoint((*REWARDS, *NEXT_OBSERVATIONS, *SUCCESS)):
        return True
    if is_hdf5(file):
        return not names.isdisjoint(ACTIONS)
    is_ogbench = environment is None or "-singletask" in environment
    return not is_ogbench and names.isdisjoint(_OGBENCH)


def open_steps(path: Path, config: Config, environment: str | None = None) -> Source:
    """Open an npz file, a folder of them, or an HDF5 file in D4RL's form.

    Args:
        config: columns, success and control interval.
        environment: the id, or `robot/NAME`; None if only the file may name it.

    Raises:
        UsageError: the arrays are damaged, missing or do not fit the environment.
    """
    files, held_out = _files(path)
    columns = choose_columns(
        files[0], config.data.observation, config.data.action, single_episode=len(files) > 1
    )
    named = environment_of(files[0])
    if environment is not None and named is not None:
        require_environment(str(path), named, environment)
    heads, shapes = _read_heads((*files, *held_out), columns)
    survey, longest, marked = Survey(), 0, 0
    actions = ActionRange(_width(shapes, columns.actions), sum(heads[file] for file in files))
    for block in _complete(files, columns, columns.small):
        steps = _steps(block, columns)
        survey.add(steps)
        actions.add(_joined(block, columns.actions))
        marked += int(block["marked"].sum())
        longest = max(longest, int(np.diff(np.flatnonzero(steps.last), prepend=-1).max()))
    rule = OutcomeRule(str(path), survey, config.data.success)
    sizes = _width(shapes, columns.observations), _width(shapes, columns.actions)
    given = environment or named
    if given is not None and not given.startswith(ROBOT):
        spec, bounds_from_data = describe(given, config.control_interval), False
        _require_sizes(path, spec, *sizes)
    else:
        spec, bounds_from_data = describe_robot(
            files[0], given, sizes, actions, longest, config.control_interval
        )

    notes = (*rule.notes, *_notes(columns, survey, spec, longest))
    if not marked and EPISODES not in columns.scalars:
        notes = (*notes, "no end of an episode is marked, so each file is one episode")
    if spec.control_interval > _LONG_INTERVAL:
        seconds = f"{spec.control_interval:g}"
        notes = (*notes, f"the control interval is {seconds} s: is {seconds} a rate in Hz?")
    if bounds_from_data and (outliers := actions.note(spec.action_names)):
        notes = (*notes, outliers)

    def opened(part: Sequence[Path], validation: Source | None) -> Source:
        return Source(
            kind="steps",
            name=str(path),
            spec=spec,
            # Each episode has one more observation than steps; held-out files are not surveyed.
            rows=sum(heads[file] for file in part) + survey.episodes,
            read=partial(_read, part, columns, rule),
            files={file.name: file for file in part},
            notes=notes,
            bounds_from_data=bounds_from_data,
            reports_success=rule.reports_success,
            replayable=partial(_replayable, part, columns) if columns.start else None,
            validation=validation,
        )

    return opened(files, opened(held_out, None) if held_out else None)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the data files and the validation files of a path."""
    if not path.is_dir():
        return ([path], []) if is_hdf5(path) else npz_files(path)
    found = sorted(file for file in path.iterdir() if file.suffix in HDF5_SUFFIXES)
    return (found, []) if found else npz_files(path)


def _read_heads(files: Sequence[Path], columns: Columns) -> tuple[dict[Path, int], Shapes]:
    """Return the rows of each file, and the shape of one row by array."""
    heads: dict[Path, int] = {}
    known: Shapes = {}
    for file in files:
        with open_table(file, columns.names) as table:
            shapes, heads[file] = table.shapes, table.rows
        for name in columns.scalars.values():
            if shapes[name] not in ((), (1,)):
                raise UsageError(
                    f"{file}: {name!r} must have one number per row, got {list(shapes[name])}"
                )
        for name in (*columns.observations, *columns.next_observations, *columns.actions):
            if len(shapes[name]) > 1:
                raise UsageError(
                    f"{file}: {name} must be vectors, got {list(shapes[name])} per row"
                )
        if columns.next_observations and _width(shapes, columns.next_observations) != _width(
            shapes, columns.observations
        ):
            raise UsageError(f"{file}: next observations must have the size of observations")
        sizes = [
            _width(s, c)
            for s in (shapes, known or shapes)
            for c in (columns.observations, columns.actions)
        ]
        if sizes[:2] != sizes[2:]:
            raise UsageError(
                f"{file} has observations and actions of {sizes[0]} and {sizes[1]} numbers, "
                f"the files before it of {sizes[2]} and {sizes[3]}"
            )
        known = shapes
    return heads, known


def _width(shapes: Shapes, names: Sequence[str]) -> int:
    return sum(int(np.prod(shapes[name], dtype=np.int64)) for name in names)


def _complete(files: Sequence[Path], columns: Columns, names: Sequence[str]) -> Iterator[Block]:
    """Yield blocks of complete episodes.

    `last` are the last steps of episodes, bool [rows]; `marked` are those that the file marks. The
    end of a file ends its last episode. The memory needed is that of a block and an episode.
    """
    for file in files:
        with open_table(file, names) as table:
            pending: Block = {}
            unread = table.rows
            for block in table.blocks(_BLOCK_ROWS):
                unread -= len(next(iter(block.values())))
                if pending:
                    block = {name: np.concatenate([pending[name], v]) for name, v in block.items()}
                marked = _ends(file, block, columns)
                last = marked.copy()
                last[-1] = not unread
                ends = np.flatnonzero(last)
                rows = int(ends[-1]) + 1 if len(ends) else 0
                # Copied, because a view would hold the memory of the complete block.
                pending = {name: values[rows:].copy() for name, values in block.items()}
                if rows:
                    yield {
                        **{name: values[:rows] for name, values in block.items()},
                        "last": last[:rows],
                        "marked": marked[:rows],
                    }


def _ends(file: Path, block: Block, columns: Columns) -> np.ndarray:
    """Return which rows end an episode; the last row of a block is only known with the next one."""
    last = np.zeros(len(next(iter(block.values()))), bool)
    for names in (TERMINALS, TIMEOUTS, DONES):
        if names in columns.scalars:
            last |= _flags(file, block, columns, names)
    if EPISODES in columns.scalars:
        index = block[columns.scalars[EPISODES]].reshape(-1)
        last[:-1] |= index[1:] != index[:-1]
    return last


def _flags(file: Path, block: Block, columns: Columns, names: tuple[str, ...]) -> np.ndarray:
    """Return a column as bool [rows] (UsageError: it has values other than 0 and 1)."""
    name = columns.scalars[names]
    values = block[name].reshape(-1)
    if not ((values == 0) | (values == 1)).all():
        raise UsageError(f"{file}: {name!r} must be 0 or 1 in every row")
    return values == 1


def _joined(block: Block, names: Sequence[str]) -> np.ndarray:
    """Return vectors [rows, numbers] of one array or of several."""
    parts = [block[name].reshape(len(block[name]), -1) for name in names]
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def _steps(block: Block, columns: Columns) -> Steps:
    def flags(names: tuple[str, ...]) -> np.ndarray | None:
        return block[columns.scalars[names]].reshape(-1) > 0 if names in columns.scalars else None

    rewards = block[columns.scalars[REWARDS]] if REWARDS in columns.scalars else None
    masks, terminated, done = flags(MASKS), flags(TERMINALS), flags(DONES)
    if masks is not None:
        # With masks, terminals only mark ends, as in OGBench.
        terminated = ~masks
    if terminated is None and done is not None and (timeouts := flags(TIMEOUTS)) is not None:
        terminated = done & ~timeouts
    return Steps(
        last=block["last"],
        rewards=None if rewards is None else rewards.reshape(-1).astype(np.float32),
        success=flags(SUCCESS),
        terminated=terminated,
        done=done,
    )


def _read(files: Sequence[Path], columns: Columns, rule: OutcomeRule) -> Iterator[Episodes]:
    for file in files:
        for block in _complete([file], columns, columns.names):
            steps = _steps(block, columns)
            outcomes = rule(steps)
            observations = _joined(block, columns.observations)
            yield Episodes(
                observations=observation_rows(
                    observations, _following(file, block, observations, columns), steps.last
                ),
                actions=_joined(block, columns.actions),
                rewards=outcomes.rewards,
                masks=1 - outcomes.terminated.astype(np.float32),
                terminals=steps.last.astype(np.float32),
                successes=outcomes.success,
            )


def _replayable(files: Sequence[Path], columns: Columns) -> Iterator[ReplayableEpisode]:
    for file in files:
        for block in _complete([file], columns, (*columns.names, *columns.start)):
            observations, actions = (
                _joined(block, names) for names in (columns.observations, columns.actions)
            )
            following = _following(file, block, observations, columns)
            rewards = _steps(block, columns).rewards
            ends = np.flatnonzero(block["last"]) + 1
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                known = observations[start:end]
                if columns.next_observations:
                    known = np.concatenate([known, following[end - 1 : end]])
                yield ReplayableEpisode(
                    observations=known,
                    actions=actions[start:end],
                    rewards=None if rewards is None else rewards[start:end],
                    **start_of(file, {name: block[name][start] for name in columns.start}),
                )


def _following(file: Path, block: Block, observations: np.ndarray, columns: Columns) -> np.ndarray:
    """Return next observations, of which only those of last steps are used.

    Raises:
        UsageError: the rows are not consecutive steps, such as those of a replay buffer.
    """
    if not columns.next_observations:
        return observations
    following = _joined(block, columns.next_observations)
    ends = np.flatnonzero(block["last"])[:-1]
    if len(ends) and (following[ends] == observations[ends + 1]).all():
        raise UsageError(
            f"{file}: {columns.next_observations[0]} of the last step of an episode is the first "
            "observation of the next episode, as environments give it that reset themselves: "
            "record the observation before the reset, or leave the array out"
        )
    inner = ~block["last"][:-1]
    follows = np.isclose(following[:-1][inner], observations[1:][inner], rtol=1e-3, atol=1e-5)
    if not follows.all():
        raise UsageError(
            f"{file}: {columns.next_observations[0]} must be the observation of the next row "
            f"inside an episode, in {1 - follows.all(axis=1).mean():.1%} of the rows it is not: "
            "rows must be consecutive steps, and each episode must end with a terminal or a timeout"
        )
    return following


def _require_sizes(path: Path, spec: EnvironmentSpec, observations: int, actions: int) -> None:
    for name, size, got in (
        ("observations", spec.observation_size, observations),
        ("actions", spec.action_size, actions),
    ):
        if size != got:
            raise UsageError(f"{path}: {spec.id} has {name} of {size} numbers, the file {got}")


def _notes(columns: Columns, survey: Survey, spec: EnvironmentSpec, longest: int) -> Iterator[str]:
    if longest > spec.episode_limit:
        yield (
            f"an episode has {longest:,} steps, {spec.id} has at most {spec.episode_limit:,}: are "
            "time limits marked in timeouts?"
        )
    marks_limits = {TIMEOUTS, MASKS} & set(columns.scalars)
    terminated = TERMINALS in columns.scalars and survey.terminated_at_end == survey.episodes
    if terminated and survey.episodes > 1 and not marks_limits:
        yield (
            "every episode ends with a terminal, which means that no reward follows: mark ends by "
            "a time limit in timeouts instead"
        )

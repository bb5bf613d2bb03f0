"""Reads robomimic's HDF5 form as the recording of a robot, of any task and without a simulator.

Each group `data/demo_N` is an episode with arrays of observations in its group `obs`, with
`actions`, and with `rewards` and `dones` if they are recorded. `outcomes` decides success and ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Episodes
from qc_core.data.formats.action_range import ActionRange
from qc_core.data.formats.hdf5 import member, numeric_array, opened
from qc_core.data.formats.outcomes import OutcomeRule, Steps, Survey
from qc_core.data.formats.robomimic_args import EnvArgs
from qc_core.data.formats.robomimic_hdf5 import choose_demonstrations, values_of
from qc_core.data.formats.robot import control_interval_of
from qc_core.data.formats.source import Source, observation_rows
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

_ACTIONS = ("actions",)
_OBSERVATIONS, _NEXT_OBSERVATIONS = "obs", "next_obs"

# Numbers of each array, by its name.
_Widths = Mapping[str, int]


def open_demonstrations(path: Path, config: Config, environment: str) -> Source:
    """Open the demonstrations of a file, or those that one of its filters lists.

    Args:
        config: columns, filter, control interval, and what counts as success.
        environment: `robot/NAME`.

    Raises:
        UsageError: the file is damaged, has no vectors of observations or actions, or differs
            between demonstrations.
    """
    with opened(path) as file:
        demos, filters = choose_demonstrations(path, file, config.data.filter)
        data = member(path, file, "data")
        first = member(path, data, demos[0])
        vectors, others = _vectors(member(path, first, _OBSERVATIONS))
        observed = _chosen(path, vectors, config.data.observation, "observation")
        ignored = [*others, *(name for name in vectors if name not in observed)]
        acted = _chosen(path, _vectors(first)[0], config.data.action or _ACTIONS, "action")
        survey, longest = Survey(), 0
        lengths = [
            len(numeric_array(path, member(path, data, name), next(iter(acted)))) for name in demos
        ]
        actions = ActionRange(sum(acted.values()), sum(lengths))
        for name in demos:
            demo = member(path, data, name)
            block = _joined(path, demo, acted)
            actions.add(block)
            survey.add(_steps(path, demo, len(block)))
            longest = max(longest, len(block))
        interval = _control_interval(path, data, config.control_interval)
    rule = OutcomeRule(str(path), survey, config.data.success, trust_done=False)
    low, high = actions.bounds()
    action_names = _names(acted, "action")
    notes = [
        f"not read (not vectors, or not chosen): {', '.join(ignored)}" if ignored else "",
        actions.note(action_names),
        *rule.notes,
    ]
    return Source(
        kind="robomimic",
        name=str(path),
        spec=EnvironmentSpec(
            id=environment,
            observation_names=_names(observed, "observation"),
            action_names=action_names,
            action_low=tuple(low.tolist()),
            action_high=tuple(high.tolist()),
            episode_limit=longest,
            control_interval=interval,
        ),
        rows=sum(lengths) + len(demos),
        read=partial(_read, path, demos, observed, acted, rule),
        files={path.name: path},
        origin={"demonstrations": len(demos)}
        | ({"filter": config.data.filter} if config.data.filter else {}),
        filters=filters,
        notes=tuple(note for note in notes if note),
        bounds_from_data=True,
        reports_success=rule.reports_success,
    )


def _vectors(group: Any) -> tuple[dict[str, int], list[str]]:
    """Return the numbers per row of the vectors in a group, and the names of its other arrays."""
    import h5py

    vectors: dict[str, int] = {}
    others: list[str] = []
    for name in sorted(group):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        if not isinstance(array := group[name], h5py.Dataset):
            continue
        if array.dtype.kind in "fiub" and array.ndim in (1, 2):
            vectors[name] = array.shape[1] if array.ndim == 2 else 1
        else:
            others.append(name)
    return vectors, others


def _chosen(path: Path, found: _Widths, names: Sequence[str], kind: str) -> _Widths:
    shown = ", ".join(f"{name} [{width}]" for name, width in found.items()) or "none"
    for name in names:
        if name not in found:
            raise UsageError(
                f"{path} has no vector {name!r}; it has {shown}: choose with --data.{kind} NAME…"
            )
    if not found:
        raise UsageError(f"{path} has no vectors of {kind}s")
    return {name: found[name] for name in names or found}


def _names(widths: _Widths, single: str) -> tuple[str, ...]:
    """Return numbered names; those of a single array begin with what it is."""
    return tuple(
        f"{name if len(widths) > 1 else single}_{i}"
        for name, width in widths.items()
        for i in range(width)
    )


def _joined(path: Path, group: Any, widths: _Widths) -> np.ndarray:
    """Return vectors [rows, numbers] of one array or of several (UsageError: unequal lengths)."""
    parts = []
    for name, width in widths.items():
        shape = (width,) if numeric_array(path, group, name).ndim > 1 else ()
        values = values_of(path, group, name, shape)
        parts.append(values.reshape(len(values), width))
    if len(lengths := {len(part) for part in parts}) > 1:
        raise UsageError(
            f"{path}, {group.name}: {', '.join(widths)} must have equally many rows, got "
            f"{sorted(lengths)}"
        )
    return np.concatenate(parts, axis=1)


def _steps(path: Path, demo: Any, rows: int) -> Steps:
    def column(name: str) -> np.ndarray | None:
        values = values_of(path, demo, name, ()) if name in demo else None
        if values is not None and len(values) != rows:
            raise UsageError(f"{path}, {demo.name}: {name} must have {rows} rows, as actions have")
        return values

    if not rows:
        raise UsageError(f"{path}, {demo.name} has no steps: delete it")
    done = column("dones")
    return Steps(
        last=np.arange(rows) == rows - 1,
        rewards=column("rewards"),
        done=None if done is None else done > 0,
    )


def _read(
    path: Path, demos: list[str], observed: _Widths, acted: _Widths, rule: OutcomeRule
) -> Iterator[Episodes]:
    with opened(path) as file:
        data = member(path, file, "data")
        for name in demos:
            demo = member(path, data, name)
            actions = _joined(path, demo, acted)
            observations = _joined(path, member(path, demo, _OBSERVATIONS), observed)
            # Without the observation after the last row, the last one is repeated.
            following = observations
            if _NEXT_OBSERVATIONS in demo:
                following = _joined(path, member(path, demo, _NEXT_OBSERVATIONS), observed)
            if not len(actions) == len(observations) == len(following):
                raise UsageError(
                    f"{path}, {demo.name}: actions and observations must have equally many rows, "
                    f"got {len(actions)} and {len(observations)}"
                )
            steps = _steps(path, demo, len(actions))
            outcomes = rule(steps)
            yield Episodes(
                observations=observation_rows(observations, following, steps.last),
                actions=actions,
                rewards=outcomes.rewards,
                masks=1 - outcomes.terminated.astype(np.float32),
                terminals=steps.last.astype(np.float32),
                successes=outcomes.success,
            )


def _control_interval(path: Path, data: Any, given: float) -> float:
    """Return the seconds per step that the file states, else the given ones; 0 is unknown."""
    text = data.attrs.get("env_args")
    if not isinstance(text, str | bytes):
        return given
    arguments = documents.parse(text, EnvArgs, f"{path}, attribute env_args of /data")
    rate = (arguments.env_kwargs or {}).get("control_freq")
    if not isinstance(rate, int | float) or not 0 < rate < np.inf:
        return given
    return control_interval_of(path, 1 / rate, given, f" (control_freq {rate:g})")

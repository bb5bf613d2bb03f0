"""Chooses the columns of a LeRobot folder: observations, actions, rewards and ends of episodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qc_core import documents
from qc_core.documents import Document
from qc_core.errors import UsageError

# Column names of steps, by what they record; the first that exists is read.
REWARD = ("next.reward", "reward", "next.rewards", "rewards")
DONE = ("next.done", "done", "next.dones", "dones")
TERMINATED = ("next.terminated", "terminated", "next.terminal", "is_terminal")
TRUNCATED = ("next.truncated", "truncated")
SUCCESS = ("next.success", "next.is_success", "success", "is_success")
TIMESTAMP = ("timestamp",)
# First parts of names, such as that of `observation.state`.
_OBSERVATIONS = ("observation", "observations", "obs", "state", "states")
_ACTIONS = ("action", "actions")

# Numbers in one vector; a larger claim is damaged or hostile.
_MAX_WIDTH = 100_000
_NUMERIC = re.compile(r"(float|u?int)\d+|bool")


class Feature(Document, frozen=True, kw_only=True, rename="lower"):
    """A column; `names` is a list or a mapping, also nested, or a mapping from name to position."""

    dtype: str
    shape: list[Any]
    names: Any = None

    @property
    def width(self) -> int:
        """Numbers per row, 0 if a row is not a vector."""
        shape = self.shape or [1]
        if not _NUMERIC.fullmatch(self.dtype) or len(shape) != 1 or not isinstance(shape[0], int):
            return 0
        return shape[0] if 0 < shape[0] <= _MAX_WIDTH else 0


@dataclass(frozen=True, slots=True)
class Features:
    """The chosen columns of a folder, in order.

    Attributes:
        scalars: columns of one number per step, by what they record (`REWARD`, …).
        ignored: observations and actions that are not read.
    """

    observations: Mapping[str, Feature]
    actions: Mapping[str, Feature]
    scalars: Mapping[tuple[str, ...], str]
    ignored: tuple[str, ...]

    @property
    def widths(self) -> dict[str, int]:
        """Numbers per row of every column that is read, by name."""
        vectors = {**self.observations, **self.actions}
        return {name: feature.width for name, feature in vectors.items()} | dict.fromkeys(
            self.scalars.values(), 1
        )

    @property
    def observation_names(self) -> tuple[str, ...]:
        short = [name.removeprefix("observation.") for name in self.observations]
        # `state` and `observation.state` may both exist.
        columns = short if len(set(short)) == len(short) else self.observations
        return tuple(
            f"{column}_{part}"
            for column, feature in zip(columns, self.observations.values(), strict=True)
            for part in _names(feature, "")
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        if len(self.actions) == 1:
            return _names(next(iter(self.actions.values())), "action_")
        return tuple(
            f"{name.partition('.')[2]}_{part}"
            for name, feature in self.actions.items()
            for part in _names(feature, "")
        )


def choose_features(
    what: str,
    features: Mapping[str, Any],
    observation: Sequence[str] = (),
    action: Sequence[str] = (),
) -> Features:
    """Choose columns by their names, or those that a person names.

    `observation.state` comes first, other groups of observations in the order of their names.
    `action` or `actions` is the action, or else all groups of it, such as `action.arm`.

    Args:
        what: the file, for error messages.
        features: the description of each column, by name.
        observation, action: names of columns, in order; empty to choose.

    Raises:
        UsageError: there is no vector for observations or actions, or a named column is not one.
    """
    parsed = {
        name: documents.convert(value, Feature, f"{what}, feature {name}")
        for name, value in features.items()
        if name in (*observation, *action) or _head(name) in (*_OBSERVATIONS, *_ACTIONS)
    }
    scalars = {}
    for names in (REWARD, DONE, TERMINATED, TRUNCATED, SUCCESS, TIMESTAMP):
        if found := [name for name in names if name in features]:
            scalars[names] = found[0]
    vectors = {name: feature for name, feature in parsed.items() if feature.width}
    for name in (*observation, *action):
        if name not in vectors:
            raise UsageError(f"{what}: {name!r} is not a column of vectors; {_shown(features)}")
    observations = observation or sorted(
        (name for name in vectors if _head(name) in _OBSERVATIONS),
        key=lambda name: (name != "observation.state", name),
    )
    actions = action or (
        [name for name in _ACTIONS if name in vectors][:1]
        or sorted(name for name in vectors if _head(name) in _ACTIONS)
    )
    for kind, chosen in (("observation", observations), ("action", actions)):
        if not chosen:
            raise UsageError(
                f"{what}: a vector {kind} is needed in features; {_shown(features)}: choose with "
                f"--data.{kind} NAME…"
            )
    return Features(
        observations={name: vectors[name] for name in observations},
        actions={name: vectors[name] for name in actions},
        scalars=scalars,
        ignored=tuple(name for name in parsed if name not in (*observations, *actions)),
    )


def _head(name: str) -> str:
    return name.partition(".")[0]


def _shown(features: Mapping[str, Any]) -> str:
    """Return the columns of numbers with their shapes."""
    found = [
        f"{name} {list(value['shape'])}"
        for name, value in features.items()
        if isinstance(value, dict)
        and isinstance(value.get("shape"), list)
        and _NUMERIC.fullmatch(str(value.get("dtype")))
    ]
    return f"it has {', '.join(found[:30]) or 'no columns of numbers'}"


def _names(feature: Feature, prefix: str) -> tuple[str, ...]:
    """Return the names of a vector's numbers, or numbered names if it has none."""
    for with_groups in (False, True):
        names = _flattened(feature.names, with_groups)
        if len(set(names)) == len(names) == feature.width:
            return tuple(name[:100] for name in names)
    return tuple(f"{prefix}{i}" for i in range(feature.width))


def _flattened(names: Any, with_groups: bool) -> list[str]:
    """Return the names in nested lists and mappings, in order.

    Args:
        with_groups: put the keys of mappings before the names.
    """
    if isinstance(names, dict):
        if names and all(isinstance(position, int) for position in names.values()):
            return sorted(names, key=names.__getitem__)
        return [
            f"{key}_{name}" if with_groups else name
            for key, group in names.items()
            for name in _flattened(group, with_groups)
        ]
    if isinstance(names, list):
        return [name for group in names for name in _flattened(group, with_groups)]
    return [] if names is None else [str(names)]

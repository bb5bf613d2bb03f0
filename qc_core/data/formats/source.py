"""A source of episodes, as each format returns it, and helpers that the formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.dataset.dataset import REWARD_OF_SOURCE, Episodes
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

# The array of seeds with which the environment was reset at the start of the episode.
SEEDS = "seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayableEpisode:
    """A recorded episode and how it started, so that it can be played again.

    Shapes: T steps, O observation, A action.

    Attributes:
        observations: [T, O] or, with the observation after the last step, [T + 1, O].
        actions: [T, A].
        rewards: [T], None if the source has no rewards of its own.
        seed, options: of the reset.
        state: the simulator's state at the start, in the order in which `set_state` takes its
            parts; empty if the reset alone is the start.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray | None = None
    seed: int | None = None
    options: dict[str, Any] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Episodes of one environment or robot.

    Attributes:
        kind: the format.
        name: the path or the dataset's name, for messages.
        spec: of the environment or robot.
        rows: observations that `read` will yield, or a few more.
        read: yields complete episodes in blocks whose size does not grow with the source; raises
            UsageError for damaged data.
        files: the files that `read` reads, by the names that `dataset.json` records.
        origin: more details for `dataset.json`.
        notes: limitations that a person should know before using the data.
        filters: named selections of episodes, with the number of episodes in each.
        reward_convention: the state to which the reward of a transition belongs.
        bounds_from_data: the bounds of actions are those of the data without outliers.
        reports_success: whether the source tells which steps succeed.
        replayable: yields the episodes with their starts; None if starts are not recorded.
        validation: held-out episodes, if any.
    """

    kind: str
    name: str
    spec: EnvironmentSpec
    rows: int
    read: Callable[[], Iterator[Episodes]]
    files: Mapping[str, Path] = field(default_factory=dict)
    origin: Mapping[str, str | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    filters: Mapping[str, int] = field(default_factory=dict)
    reward_convention: str = REWARD_OF_SOURCE
    bounds_from_data: bool = False
    reports_success: bool = True
    replayable: Callable[[], Iterator[ReplayableEpisode]] | None = None
    validation: Source | None = None


def start_of(file: Path, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the fields of a ReplayableEpisode that say how it starts.

    Args:
        values: of the first step, by array: `SEEDS` alone, or the parts of the simulator's state.

    Raises:
        UsageError: the seed is not an integer, or unknown.
    """
    if SEEDS not in values:
        return {"state": values}
    seed = values[SEEDS]
    if seed.shape != () or seed.dtype.kind not in "iu":
        raise UsageError(f"{file}: {SEEDS!r} must be one integer per row")
    if seed < 0:
        raise UsageError(
            f"{file} cannot be played again: an episode has no seed ({SEEDS!r} is negative)"
        )
    return {"seed": int(seed)}


def observation_rows(
    observations: np.ndarray, following: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Return the rows of `Episodes.observations` for transitions with next observations.

    Args:
        observations: [N, O], at the start of each transition.
        following: [N, O], at its end.
        ends: bool [N], the last transitions of episodes.
    """
    last = np.flatnonzero(ends)
    return np.insert(observations, last + 1, following[last], axis=0)


def rows_with_last_repeated(observations: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the rows of `Episodes.observations` for steps whose last next observation is unknown.

    Args:
        observations: [N, O], at the start of each step.
        last: bool [N], the last steps of episodes.
    """
    return np.repeat(observations, 1 + last, axis=0)


def transitions_of(last_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows start a transition, and which transitions end an episode.

    Args:
        last_rows: bool [rows], the last rows of complete episodes; an episode's last row is only a
            next observation.

    Returns:
        (bool [rows], bool [N])
    """
    transitions = ~last_rows
    return transitions, np.roll(last_rows, -1)[transitions]


def require_finite(what: str, name: str, values: np.ndarray, first_row: int = 0) -> None:
    """Refuse NaN, infinity and numbers that do not fit a float32 (UsageError).

    Args:
        what: the file, or the episode in it, for the message.
        values: [rows, ...].
        first_row: number of the first row.
    """
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(values, np.float32))
    if not finite.all():
        row = first_row + int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))
        raise UsageError(f"{what}: {name} holds NaN or infinity in row {row}")

"""Episodes from anywhere, in the one form that `ingest` writes and `describe` counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.data.dataset.dataset import Episodes
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Episodes that say of which environment or robot they are.

    Attributes:
        kind: the format.
        name: the path or the data set's name, as messages say it.
        rows: observations that `read` will yield, or a few more.
        read: yields whole episodes, in blocks that do not grow with the source; UsageError names
            what is damaged.
        files: those that are read, by their names in the manifest.
        origin: what else the data set's manifest says of where it comes from.
        notes: what a person should know before using the data.
        filters: named choices of episodes, with the number that each holds.
    """

    kind: str
    name: str
    spec: EnvironmentSpec
    rows: int
    read: Callable[[], Iterator[Episodes]]
    files: Mapping[str, Path] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    filters: Mapping[str, int] = field(default_factory=dict)
    reward_convention: str = "the source's own"
    validation: Source | None = None


def rows_of(observations: np.ndarray, following: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Rows of `Episodes.observations` for transitions whose two sides are given apart.

    Args:
        observations: [N, O], where each transition starts.
        following: [N, O], where it ends.
        ends: [N] bool, the last transition of an episode.
    """
    last = np.flatnonzero(ends)
    return np.insert(observations, last + 1, following[last], axis=0)


def transitions_of(last_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows start a transition, and which of these transitions end an episode.

    Args:
        last_rows: [rows] bool, of whole episodes; an episode's last row is only a next
            observation.

    Returns:
        ([rows] bool, [N] bool)
    """
    transitions = ~last_rows
    return transitions, np.roll(last_rows, -1)[transitions]


def require_finite(what: str, name: str, values: np.ndarray, first_row: int = 0) -> None:
    """Refuse NaN and infinity, as which larger numbers than a float32 holds count (UsageError).

    Args:
        what: the file, or the episode in it, as the message names it.
        values: [rows, ...].
        first_row: number of the first of them.
    """
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(values, np.float32))
    if not finite.all():
        row = first_row + int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))
        raise UsageError(f"{what}: {name} holds NaN or infinity in row {row}")

"""Describes a robot without a simulator, from what a file of its steps states and contains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qc_core.data.formats.action_range import ActionRange
from qc_core.data.formats.step_tables import read_small
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec


def environment_of(path: Path) -> str | None:
    """Return the environment that a file names, None if it names none."""
    values = read_small(path, "environment")
    if values is None or values.dtype.kind != "U" or values.size != 1:
        return None
    return str(values.reshape(-1)[0])[:200]


def describe_robot(
    path: Path,
    environment: str | None,
    sizes: tuple[int, int],
    actions: ActionRange,
    longest: int,
    control_interval: float,
) -> tuple[EnvironmentSpec, bool]:
    """Return the description of a robot without a simulator, and whether data decide its bounds.

    The id is empty if nothing names the environment. The file may contain names, bounds and the
    control interval. A control interval of 0 is unknown.
    """
    low, high = (_numbers(path, f"action_{end}", sizes[1]) for end in ("low", "high"))
    has_bounds = low is not None and high is not None
    if not has_bounds:
        low, high = actions.bounds()
    assert low is not None and high is not None
    interval = _numbers(path, "control_interval", 1)
    stated = None if interval is None else float(interval[0])
    return EnvironmentSpec(
        id=environment or "",
        observation_names=_texts(path, "observation_names", sizes[0], "observation"),
        action_names=_texts(path, "action_names", sizes[1], "action"),
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        episode_limit=longest,
        control_interval=control_interval_of(path, stated, control_interval),
    ), not has_bounds


def control_interval_of(path: Path, stated: float | None, given: float, origin: str = "") -> float:
    """Return the seconds per step that a file states, else the given ones; 0 is unknown.

    Args:
        stated: None if the file states nothing.
        given: `--control-interval`.
        origin: what in the file states it, for the error message.

    Raises:
        UsageError: they differ.
    """
    if stated is None:
        return given
    if given and not np.isclose(stated, given):
        raise UsageError(
            f"--control-interval is {given:g} s, but {path} states {stated:g} s{origin}: leave out "
            "the option"
        )
    return stated


def _numbers(path: Path, name: str, size: int) -> np.ndarray | None:
    """Return a small array of numbers [size], None without it (UsageError: another size)."""
    values = read_small(path, name)
    if values is None:
        return None
    if values.dtype.kind not in "fiu" or values.size != size or not np.isfinite(values).all():
        raise UsageError(f"{path}: {name!r} must be {size} finite numbers, got {values.size}")
    return values.reshape(-1).astype(np.float64)


def _texts(path: Path, name: str, size: int, default: str) -> tuple[str, ...]:
    values = read_small(path, name)
    if values is None:
        return tuple(f"{default}_{i}" for i in range(size))
    if values.dtype.kind != "U" or values.shape != (size,):
        raise UsageError(f"{path}: {name!r} must be {size} texts, got {list(values.shape)}")
    return tuple(text[:100] for text in values.tolist())

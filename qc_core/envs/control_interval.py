"""The control interval: seconds between two actions of an environment."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium

from qc_core.errors import UsageError

# Two intervals that differ by less, relative to the larger one, are equal.
_TOLERANCE = 1e-3
_FRAME_RATE = "render_fps"


class ControlInterval(NamedTuple):
    """Seconds per control step, and where the number comes from."""

    seconds: float
    origin: str


def control_interval(environment: gymnasium.Env, name: str, given: float = 0.0) -> ControlInterval:
    """Return the control interval that an environment reports, or the given one.

    The environment reports it as `dt` (Gymnasium's MuJoCo environments) or `_control_timestep`
    (OGBench), itself or an environment that it contains. Otherwise the frame rate of its videos
    counts, `metadata["render_fps"]`: Gymnasium shows one frame per step.

    Args:
        given: `--control-interval`; 0 if it is not given.

    Raises:
        UsageError: the environment reports none and none is given, or the two differ.
    """
    option = ControlInterval(given, "--control-interval") if given else None
    reported = _reported(environment.unwrapped)
    if reported is not None:
        if option is not None and not math.isclose(given, reported.seconds, rel_tol=_TOLERANCE):
            raise UsageError(
                f"--control-interval is {given:g} s, but {name} reports {reported.seconds:g} s "
                f"({reported.origin}): leave out the option, or change the environment"
            )
        return reported
    if option is not None:
        return option
    rate = _positive(environment.metadata.get(_FRAME_RATE))
    if rate is not None:
        return ControlInterval(1 / rate, f"metadata[{_FRAME_RATE!r}]")
    raise UsageError(
        f"{name} does not report its control interval (an attribute `dt`, in seconds): give it "
        "with --control-interval SECONDS"
    )


def reported_interval(environment: gymnasium.Env) -> float | None:
    """Return the control interval that an environment reports, also by its frame rate, or None."""
    if (reported := _reported(environment.unwrapped)) is not None:
        return reported.seconds
    rate = _positive(environment.metadata.get(_FRAME_RATE))
    return 1 / rate if rate else None


def _reported(environment: Any) -> ControlInterval | None:
    """Return the interval of an environment, or of one that it contains."""
    contained = (v for v in vars(environment).values() if isinstance(v, gymnasium.Env))
    for candidate in (environment, *(inner.unwrapped for inner in contained)):
        for attribute in ("_control_timestep", "dt"):
            seconds = _positive(_value(candidate, attribute))
            if seconds is not None:
                return ControlInterval(seconds, attribute)
    return None


def _value(environment: Any, attribute: str) -> Any:
    """Return an attribute, None if there is none or it cannot be computed."""
    try:
        return getattr(environment, attribute, None)
    except Exception:
        return None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None

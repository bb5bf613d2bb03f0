"""Environment families that have oracles, with the parameters of OGBench's own datasets."""

from __future__ import annotations

import re

from qc_core.errors import UsageError

# Range of the stacking rate by family: the probability that a random target of a cube is the top
# of another cube. Each episode draws its own rate.
_STACKING_RATES = {
    "cube-single": (0.0, 0.0),
    "cube-double": (0.0, 0.25),
    "cube-triple": (0.05, 0.35),
    "cube-quadruple": (0.1, 0.5),
    "scene": (0.0, 0.0),
    "puzzle-3x3": (0.0, 0.0),
    "puzzle-4x4": (0.0, 0.0),
    "puzzle-4x5": (0.0, 0.0),
    "puzzle-4x6": (0.0, 0.0),
}


def family_of(environment: str) -> str:
    """Return the family of an id: `cube-double` for `cube-double-singletask-task2-v0`."""
    return environment.split("-singletask")[0]


def require_collectable(environment: str) -> None:
    """Refuse an environment that has no oracle (UsageError)."""
    known = re.fullmatch(r"(.+)-singletask(-task[1-5])?-v0", environment)
    if not known or known[1] not in _STACKING_RATES:
        raise UsageError(
            f"no scripted oracle for {environment}: collection works for FAMILY-singletask-v0 and "
            f"FAMILY-singletask-taskN-v0, FAMILY one of {', '.join(_STACKING_RATES)}; "
            "name your own demonstrator with --data.demonstrator module:function, or give "
            "recorded episodes with --data PATH"
        )


def stacking_rates(environment: str) -> tuple[float, float]:
    """Return the range of the environment's stacking rate."""
    return _STACKING_RATES[family_of(environment)]

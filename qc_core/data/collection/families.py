"""The environments for which there are oracles, and what OGBench's own data sets do in each."""

from __future__ import annotations

import re

from qc_core.errors import UsageError

# Families, and the range of each one's stacking rate: how often a random target of a cube is
# another cube's top. Every episode draws its own.
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
    """`cube-double` of `cube-double-singletask-task2-v0`."""
    return environment.split("-singletask")[0]


def require_collectable(environment: str) -> None:
    """Refuse an environment for which there is no oracle here (UsageError)."""
    known = re.fullmatch(r"(.+)-singletask(-task[1-5])?-v0", environment)
    if not known or known[1] not in _STACKING_RATES:
        raise UsageError(
            f"no scripted oracle for {environment}: collection works for FAMILY-singletask-v0 and "
            f"FAMILY-singletask-taskN-v0, FAMILY one of {', '.join(_STACKING_RATES)}; "
            "give a data set with --data PATH or --data ogbench"
        )


def stacking_rates(environment: str) -> tuple[float, float]:
    """The range of the environment's stacking rate."""
    return _STACKING_RATES[family_of(environment)]

"""How episodes went, one by one and on average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qc_core.statistics import mean, success_rate

# What is said of an environment whose `info` has no success: its policies compare by return.
NO_SUCCESS_SIGNAL = "tells no success (info['success'])"


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How one episode went.

    Attributes:
        steps: control steps played; for a success, those it took.
        episode_return: undiscounted sum of rewards.
        reports_success: the environment has said of any step whether it succeeded.
    """

    seed: int
    success: bool
    steps: int
    episode_return: float
    reports_success: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def counted_steps(outcome: EpisodeResult, limit: int) -> int:
    """Steps to success, the episode's limit for a failure."""
    return outcome.steps if outcome.success else limit


def any_reports_success(outcomes: Iterable[EpisodeResult]) -> bool:
    """Whether the environment has told of any of these episodes if it succeeded."""
    return any(outcome.reports_success for outcome in outcomes)


def in_short(outcomes: Sequence[EpisodeResult]) -> str:
    """`94%` of the episodes solved, or `return -7.3` on average where that is not told."""
    if any_reports_success(outcomes):
        return f"{np.mean([outcome.success for outcome in outcomes]):.0%}"
    return f"return {np.mean([outcome.episode_return for outcome in outcomes]):.1f}"


def summarize(outcomes: list[EpisodeResult], limit: int) -> dict[str, Any]:
    """Success, steps and return with intervals, and every episode."""
    return {
        "success": success_rate([o.success for o in outcomes])._asdict(),
        "steps": mean([counted_steps(o, limit) for o in outcomes])._asdict(),
        "return": mean([o.episode_return for o in outcomes])._asdict(),
        "success-told": any_reports_success(outcomes),
        "outcomes": [o.as_dict() for o in outcomes],
    }


def mean_figures(outcomes: list[EpisodeResult], limit: int) -> dict[str, float]:
    """Means over episodes: `success`, `steps` (a failure counts the limit) and `return`.

    `success-told` is 1 where the environment tells success, else 0.
    """
    return {
        "success": float(np.mean([outcome.success for outcome in outcomes])),
        "steps": float(np.mean([counted_steps(outcome, limit) for outcome in outcomes])),
        "return": float(np.mean([outcome.episode_return for outcome in outcomes])),
        "success-told": float(any_reports_success(outcomes)),
    }

"""Results of episodes, one by one and on average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qc_core.statistics import mean, success_rate

# Completes a sentence about an environment; its policies are compared by return.
NO_SUCCESS_SIGNAL = "reports no success (info['success'])"


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The result of one episode.

    Attributes:
        seed: of the environment and of the policy's noise.
        success: whether any step reported success.
        steps: control steps until the episode ended.
        episode_return: undiscounted sum of rewards.
        reports_success: whether the environment's `info` had a `success` entry in any step.
    """

    seed: int
    success: bool
    steps: int
    episode_return: float
    reports_success: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def counted_steps(result: EpisodeResult, limit: int) -> int:
    """Return the steps to success, or the episode limit after a failure."""
    return result.steps if result.success else limit


def any_reports_success(results: Iterable[EpisodeResult]) -> bool:
    """Return whether the environment reported success or failure in any of these episodes."""
    return any(result.reports_success for result in results)


def format_score(results: Sequence[EpisodeResult]) -> str:
    """Return the success rate as "94%", or "return -7.3" if the environment reports no success."""
    if any_reports_success(results):
        return f"{np.mean([result.success for result in results]):.0%}"
    return f"return {np.mean([result.episode_return for result in results]):.1f}"


def summarize_results(results: Sequence[EpisodeResult], limit: int) -> dict[str, Any]:
    """Return success, steps and return with confidence intervals, and each episode's result.

    Args:
        limit: control steps that a failed episode counts.
    """
    return {
        "success": success_rate([result.success for result in results])._asdict(),
        "steps": mean([counted_steps(result, limit) for result in results])._asdict(),
        "return": mean([result.episode_return for result in results])._asdict(),
        "success-told": any_reports_success(results),
        "outcomes": [result.as_dict() for result in results],
    }


def mean_results(results: Sequence[EpisodeResult], limit: int) -> dict[str, float]:
    """Return the means over episodes: `success`, `steps` and `return`.

    `success-told` is 1 if the environment reports success, else 0.

    Args:
        limit: control steps that a failed episode counts.
    """
    return {
        "success": float(np.mean([result.success for result in results])),
        "steps": float(np.mean([counted_steps(result, limit) for result in results])),
        "return": float(np.mean([result.episode_return for result in results])),
        "success-told": float(any_reports_success(results)),
    }

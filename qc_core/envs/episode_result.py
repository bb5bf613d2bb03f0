"""Means over the results of episodes, with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from qc_core.documents import Document
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.statistics import Estimate, mean, success_rate

# Says of an environment that its policies are compared by return.
NO_SUCCESS_SIGNAL = "has no success signal (info['success'])"


class EpisodeSummary(Document, frozen=True, kw_only=True):
    """Means over the episodes of one policy, with 95% intervals.

    Attributes:
        success: success rate in [0, 1].
        steps: control steps; a failure counts as the episode limit.
        episode_return: undiscounted sum of rewards.
        reports_success: the environment reports success.
        episode_results: every episode, in the order of the seeds.
    """

    success: Estimate
    steps: Estimate
    episode_return: Estimate = msgspec.field(name="return")
    reports_success: bool = True
    episode_results: tuple[EpisodeResult, ...] = ()


def counted_steps(result: EpisodeResult, limit: int) -> int:
    """Return the steps to success, or the episode limit for a failure."""
    return result.steps if result.success else limit


def any_reports_success(results: Iterable[EpisodeResult]) -> bool:
    """Return whether the environment reported success or failure in any of these episodes."""
    return any(result.reports_success for result in results)


def format_score(results: Sequence[EpisodeResult]) -> str:
    """Return the success rate as `94%`, or `return -7.3` without a success signal."""
    if any_reports_success(results):
        return f"{np.mean([result.success for result in results]):.0%}"
    return f"return {np.mean([result.episode_return for result in results]):.1f}"


def summarize_results(results: Sequence[EpisodeResult], limit: int) -> EpisodeSummary:
    """Return means with intervals over episodes of at most `limit` control steps."""
    return EpisodeSummary(
        success=success_rate([result.success for result in results]),
        steps=mean([counted_steps(result, limit) for result in results], 0, limit),
        episode_return=mean([result.episode_return for result in results]),
        reports_success=any_reports_success(results),
        episode_results=tuple(results),
    )


def mean_results(results: Sequence[EpisodeResult], limit: int) -> dict[str, float]:
    """Return the means `success`, `steps` and `return` as a point of a learning curve.

    A failure counts as `limit` steps. `success-low` and `success-high` are the 95% interval.
    `reports-success` is 1 if the environment reports success, else 0.
    """
    success = success_rate([result.success for result in results])
    return {
        "success": success.value,
        "success-low": success.low,
        "success-high": success.high,
        "steps": float(np.mean([counted_steps(result, limit) for result in results])),
        "return": float(np.mean([result.episode_return for result in results])),
        "reports-success": float(any_reports_success(results)),
    }

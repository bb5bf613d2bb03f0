"""Episodes with given steps, of which 200 are a failure, or with given returns."""

from collections.abc import Sequence

from qc_core.policy_format.episode_result import EpisodeResult

LIMIT = 200


def with_steps(steps: Sequence[int]) -> list[EpisodeResult]:
    return [EpisodeResult(seed, count < LIMIT, count, -count) for seed, count in enumerate(steps)]


def with_returns(returns: Sequence[float]) -> list[EpisodeResult]:
    """Episodes of an environment without a success signal."""
    return [
        EpisodeResult(seed, False, LIMIT, total, reports_success=False)
        for seed, total in enumerate(returns)
    ]

"""Games with given steps, of which 200 are a failure, or with given returns."""

from collections.abc import Sequence

from qc_core.envs.episode_result import EpisodeResult

LIMIT = 200


def outcomes(steps: Sequence[int]) -> list[EpisodeResult]:
    return [EpisodeResult(seed, count < LIMIT, count, -count) for seed, count in enumerate(steps)]


def untold(returns: Sequence[float]) -> list[EpisodeResult]:
    """Of an environment that tells no success."""
    return [
        EpisodeResult(seed, False, LIMIT, total, reports_success=False)
        for seed, total in enumerate(returns)
    ]

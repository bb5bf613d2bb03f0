"""Games with given steps, of which 200 are a failure, or with given returns."""

from collections.abc import Sequence

from qc_core.envs.play import Outcome

LIMIT = 200


def outcomes(steps: Sequence[int]) -> list[Outcome]:
    return [Outcome(seed, count < LIMIT, count, -count) for seed, count in enumerate(steps)]


def untold(returns: Sequence[float]) -> list[Outcome]:
    """Of an environment that tells no success."""
    return [
        Outcome(seed, False, LIMIT, total, success_told=False) for seed, total in enumerate(returns)
    ]

"""Games with given steps: 200 are a failure."""

from collections.abc import Sequence

from qc_core.envs.play import Outcome

LIMIT = 200


def outcomes(steps: Sequence[int]) -> list[Outcome]:
    return [Outcome(seed, count < LIMIT, count, -count) for seed, count in enumerate(steps)]

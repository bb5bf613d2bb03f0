"""Tests whether candidates are better than a baseline that played the same episodes.

Each candidate gets the p-value of an exact paired permutation test. Holm's correction accounts for
the number of candidates: if none of them is better than the baseline, the probability that any
adjusted p-value is at most 5% is at most 5%.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

# An adjusted p-value up to this level counts as better than chance.
LEVEL = 0.05
# All sign patterns are enumerated up to 16 differences; more are sampled, which is still exact in
# level. 100,000 resolve the smallest level of Holm's correction for thousands of candidates.
_RESAMPLES = 100_000
# Numbers per batch: their signs take 8 MB.
_BATCH = 1_000_000


def paired_p_value(gains: ArrayLike) -> float:
    """Return the one-sided p-value of a permutation test: the gains are positive on average.

    If candidate and baseline are equally good, each gain is as probable with the other sign
    (Fisher's and Pitman's test for pairs). 2 episodes cannot give less than 0.25, 5 cannot give
    less than 0.03.

    Args:
        gains: candidate minus baseline, one number per episode.
    """
    sample = np.asarray(gains, dtype=float)
    # A gain of zero is the same with either sign.
    sample = sample[sample != 0]
    if sample.size < 2:
        # scipy needs two numbers.
        return 0.5 if sample.sum() > 0 else 1.0
    from scipy.stats import permutation_test

    return float(
        permutation_test(
            (sample,),
            np.sum,
            permutation_type="samples",
            alternative="greater",
            n_resamples=_RESAMPLES,
            batch=max(1, _BATCH // sample.size),
            vectorized=True,
            rng=np.random.default_rng(0),
        ).pvalue
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number by Holm's step-down method, in order."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted.tolist()

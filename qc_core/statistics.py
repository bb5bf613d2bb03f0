"""Intervals for rates and for paired differences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Estimate(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def success_rate(successes: ArrayLike) -> Estimate:
    """Rate of successes with Wilson's 95% score interval, all in [0, 1]."""
    from scipy.stats import binomtest

    outcomes = np.asarray(successes, dtype=bool)
    test = binomtest(int(outcomes.sum()), outcomes.size)
    interval = test.proportion_ci(method="wilson")
    return Estimate(float(outcomes.mean()), float(interval.low), float(interval.high))


def mean(values: ArrayLike) -> Estimate:
    """Mean with its 95% percentile bootstrap interval (10,000 resamples, repeatable).

    For a paired comparison of two policies on the same seeds give the differences.
    """
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=float)
    value = float(sample.mean())
    if np.ptp(sample) == 0:
        return Estimate(value, value, value)
    interval = bootstrap(
        (sample,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))

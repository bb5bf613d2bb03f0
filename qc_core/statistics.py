"""Intervals for rates, means and paired differences, also while they are still being measured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Of each end of an interval: both together are wrong in 5%.
_ERROR_RATE = 0.025
# Shares of its money that a bet may stake; many, since the best is not known before.
_STAKES = (np.arange(20) + 0.5) / 20
# Numbers that the bootstrap draws at a time: their places and their values take 16 MB.
_DRAWN_AT_ONCE = 1_000_000


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
    """Mean over episodes with its 95% percentile bootstrap interval (10,000 resamples, repeatable).

    For a paired comparison of two policies on the same seeds give the differences. Of a handful
    of values it is too narrow: `mean_over_seeds` is for those.
    """
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=float)
    value = float(sample.mean())
    if np.ptp(sample) == 0:
        return Estimate(value, value, value)
    interval = bootstrap(
        (sample,),
        np.mean,
        n_resamples=10_000,
        batch=max(1, _DRAWN_AT_ONCE // sample.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def mean_over_seeds(values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """Mean over few runs with Student's 95% t interval, cut to [low, high], where means can lie.

    A single run tells nothing of the next: both ends are NaN. Runs that all came to the same show
    no spread, which does not mean that there is none.
    """
    from scipy.stats import t

    sample = np.asarray(values, dtype=float)
    value = float(sample.mean())
    if sample.size == 1:
        return Estimate(value, np.nan, np.nan)
    quantile = t.ppf(1 - _ERROR_RATE, sample.size - 1)
    half = float(quantile * sample.std(ddof=1) / np.sqrt(sample.size))
    return Estimate(value, max(low, value - half), min(high, value + half))


def anytime_mean(values: ArrayLike, low: float, high: float) -> Estimate:
    """Mean of values in [low, high] with a 95% interval that holds however often one looks.

    The mean may be looked at after every value, and the measuring stopped when the interval
    tells enough: the true mean is outside at any of these looks in at most 5% of cases,
    whatever the distribution. A betting confidence sequence, whose ends are the means against
    which a fair bet would have won forty times its stake (Waudby-Smith and Ramdas, "Estimating
    means of bounded random variables by betting", JRSS B 86, 2024).
    """
    sample, width = np.asarray(values, dtype=float), high - low
    shares = (sample - low) / width
    return Estimate(
        float(sample.mean()),
        low + _lower_end(shares) * width,
        high - _lower_end(1 - shares) * width,
    )


def mean_is_above(values: ArrayLike, bound: float, low: float, high: float) -> bool:
    """Whether the interval of `anytime_mean` lies above a bound in (low, high)."""
    shares = (np.asarray(values, dtype=float) - low) / (high - low)
    return bool(_winnings(shares, (bound - low) / (high - low)) > -np.log(_ERROR_RATE))


def mean_is_below(values: ArrayLike, bound: float, low: float, high: float) -> bool:
    """Whether the interval of `anytime_mean` lies below a bound in (low, high)."""
    return mean_is_above(-np.asarray(values, dtype=float), -bound, -high, -low)


def _winnings(shares_N: np.ndarray, mean: float) -> float:
    """Logarithm of what 1 has become by bets, fair at best, that the mean of [0, 1] is higher."""
    growth_SN = np.log1p(_STAKES[:, None] * (shares_N / mean - 1))
    return float(np.logaddexp.reduce(growth_SN.sum(axis=1)) - np.log(_STAKES.size))


def _lower_end(shares: np.ndarray) -> float:
    """The highest mean in [0, 1] that the bets rule out, 0 if there is none."""
    from scipy.optimize import root_scalar

    def excess(mean: float) -> float:
        return _winnings(shares, mean) + np.log(_ERROR_RATE)

    smallest, seen = 1e-9, float(shares.mean())
    if seen <= smallest or excess(smallest) <= 0:
        return 0.0
    # Against the mean that was seen, no bet has won: between the two the sign changes.
    return float(root_scalar(excess, bracket=(smallest, seen)).root)

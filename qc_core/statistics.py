"""Confidence intervals for rates, means and paired differences.

The intervals of `anytime_mean` stay valid when the data are examined after every value.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike

# Error rate of each end of an interval; both ends together are wrong in 5% of cases.
_ERROR_RATE = 0.025
# Fractions of its capital that a bet may stake. The best one is unknown in advance, so use many.
_STAKES = (np.arange(20) + 0.5) / 20
# Numbers per batch of the bootstrap: their indices and values take 16 MB.
_BOOTSTRAP_BATCH = 1_000_000


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95% interval. NaN ends mean that there is no interval."""

    value: float
    low: float
    high: float


def success_rate(successes: ArrayLike) -> Estimate:
    """Return the success rate with Wilson's 95% score interval, all in [0, 1]."""
    from scipy.stats import binomtest

    sample = np.asarray(successes, dtype=bool)
    test = binomtest(int(sample.sum()), sample.size)
    interval = test.proportion_ci(method="wilson")
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high))


def mean(values: ArrayLike) -> Estimate:
    """Return the mean over episodes with its 95% percentile bootstrap interval.

    The bootstrap draws 10,000 resamples from a fixed seed. For a paired comparison of two policies
    on the same seeds, pass the differences. The interval is too narrow for fewer than about ten
    values; use `mean_over_seeds` for those.
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
        batch=max(1, _BOOTSTRAP_BATCH // sample.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def mean_over_seeds(values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """Return the mean over a few training runs with Student's 95% t interval.

    One run has no interval: both ends are NaN. Equal values give an interval of width 0, although
    the true spread is probably larger.

    Args:
        low, high: bounds of a possible mean; the interval is clipped to them.
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
    """Return the mean of values in [low, high] with a 95% confidence sequence.

    The interval may be computed after every value, and sampling may stop as soon as the interval
    is narrow enough: for any distribution, the true mean leaves any of these intervals in at most
    5% of cases. It is a betting confidence sequence: its ends are the means against which a fair
    bet would have won forty times its stake (Waudby-Smith and Ramdas, "Estimating means of bounded
    random variables by betting", JRSS B 86, 2024).
    """
    sample, width = np.asarray(values, dtype=float), high - low
    shares = (sample - low) / width
    return Estimate(
        float(sample.mean()),
        low + _lower_end(shares) * width,
        high - _lower_end(1 - shares) * width,
    )


def mean_is_above(values: ArrayLike, bound: float, low: float, high: float) -> bool:
    """Return whether the interval of `anytime_mean` lies above a bound in (low, high)."""
    shares = (np.asarray(values, dtype=float) - low) / (high - low)
    return bool(_log_wealth(shares, (bound - low) / (high - low)) > -np.log(_ERROR_RATE))


def mean_is_below(values: ArrayLike, bound: float, low: float, high: float) -> bool:
    """Return whether the interval of `anytime_mean` lies below a bound in (low, high)."""
    return mean_is_above(-np.asarray(values, dtype=float), -bound, -high, -low)


def _log_wealth(shares_N: np.ndarray, mean: float) -> float:
    """Return the log of a capital of 1 after betting that the true mean is above `mean`.

    If the true mean is at most `mean`, the expected capital never exceeds 1.
    """
    growth_SN = np.log1p(_STAKES[:, None] * (shares_N / mean - 1))
    return float(np.logaddexp.reduce(growth_SN.sum(axis=1)) - np.log(_STAKES.size))


def _lower_end(shares: np.ndarray) -> float:
    """Return the highest mean in [0, 1] that the bets rule out, 0 if there is none."""
    from scipy.optimize import root_scalar

    def excess(mean: float) -> float:
        return _log_wealth(shares, mean) + np.log(_ERROR_RATE)

    smallest, observed = 1e-9, float(shares.mean())
    if observed <= smallest or excess(smallest) <= 0:
        return 0.0
    # No bet wins against the observed mean, so the sign changes between the two.
    return float(root_scalar(excess, bracket=(smallest, observed)).root)

"""Confidence intervals for rates, means and paired differences.

The intervals of `anytime_mean` stay valid when the data are examined after every value.
"""

from __future__ import annotations

from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike

# Error rate of each end of an interval; both ends together are wrong in 5% of cases.
_ERROR_RATE = 0.025
# Fractions of its capital that a bet may stake. The best one is unknown in advance, so use many.
_STAKES = (np.arange(20) + 0.5) / 20
# With fewer values, the bootstrap's interval is too narrow.
_FEW_VALUES = 10
# Numbers per batch of the bootstrap: their indices and values take 16 MB.
_BOOTSTRAP_BATCH = 1_000_000


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95% interval. NaN ends mean that there is no interval."""

    value: float
    low: float
    high: float

    def text(self, form: str, interval: str = "") -> str:
        """Return `96% (87% to 99%)`, or `96% (no interval)`.

        Args:
            form: formats one number, such as `{:.0%}`.
            interval: text in front of the interval, such as "95% interval ".
        """
        if np.isnan(self.low):
            return f"{form.format(self.value)} (no interval)"
        value, low, high = map(form.format, (self.value, self.low, self.high))
        return f"{value} ({interval}{low} to {high})"


def success_rate(successes: ArrayLike) -> Estimate:
    """Return the success rate with Wilson's 95% score interval, all in [0, 1]."""
    sample = np.asarray(successes, dtype=bool)
    return _wilson(float(sample.mean()), sample.size)


def success_rate_over_seeds(rates: ArrayLike, episodes: int) -> Estimate:
    """Return the mean success rate of a few training runs with a 95% interval, all in [0, 1].

    The interval is Wilson's, with an effective number of episodes in place of the number that was
    played, as Korn and Graubard do for survey clusters ("Confidence intervals for proportions with
    small expected number of positive counts", Survey Methodology 24, 1998). Runs that differ more
    than chance explains, and few runs, make that number smaller. Runs that differ less do not make
    it larger, so three runs without a success still have an interval.

    One run has no interval: both ends are NaN.

    Args:
        rates: success rate of each run, in [0, 1].
        episodes: episodes that each run was evaluated on.
    """
    sample = np.asarray(rates, dtype=float)
    rate = float(sample.mean())
    if sample.size == 1:
        return Estimate(rate, np.nan, np.nan)
    return _wilson(rate, _effective_episodes(sample, episodes, rate * (1 - rate)))


def success_gain(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Return the success rate of the second policy minus that of the first, on the same episodes.

    The 95% interval is Newcombe's for paired proportions ("Improved confidence intervals for the
    difference between binomial proportions based on paired data", Statistics in Medicine 17, 1998,
    method 10). Unlike the bootstrap, it has a width if all episodes end the same way.

    Args:
        first, second: whether each episode succeeded, in the same order.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return _newcombe(a, b, a.size)


def success_gain_over_seeds(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Return the gain of `success_gain` over a few pairs of training runs of equal seeds.

    It is `success_gain` with the effective number of episodes of `success_rate_over_seeds`. One
    pair has no interval over seeds: both ends are NaN.

    Args:
        first, second: whether each episode succeeded, [seed, episode].
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    gain_SE = b.astype(float) - a
    if len(gain_SE) == 1:
        return Estimate(float(gain_SE.mean()), np.nan, np.nan)
    episodes = _effective_episodes(gain_SE.mean(axis=1), gain_SE.shape[1], float(gain_SE.var()))
    return _newcombe(a.ravel(), b.ravel(), episodes)


def mean(values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """Return the mean over episodes with its 95% expanded percentile bootstrap interval.

    The bootstrap draws 10,000 resamples from a fixed seed. For a paired comparison of two policies
    on the same seeds, pass the differences. The percentiles are expanded as Hesterberg proposes
    ("What teachers should know about the bootstrap", The American Statistician 69, 2015), because
    the plain ones are too narrow for small samples. Fewer than ten values and equal values have the
    interval of `mean_over_seeds`.

    Args:
        low, high: bounds of a possible value.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size < _FEW_VALUES or np.ptp(sample) == 0:
        return mean_over_seeds(sample, low, high)
    # It takes a second to import; most results need no bootstrap.
    from scipy.special import stdtrit
    from scipy.stats import bootstrap

    degrees = sample.size - 1
    quantile = stdtrit(degrees, 1 - _ERROR_RATE) * np.sqrt(sample.size / degrees)
    interval = bootstrap(
        (sample,),
        np.mean,
        confidence_level=1 - 2 * NormalDist().cdf(-quantile),
        n_resamples=10_000,
        batch=max(1, _BOOTSTRAP_BATCH // sample.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high))


def mean_over_seeds(values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """Return the mean over a few training runs with Student's 95% t interval.

    One run has no interval: both ends are NaN. Equal values have the interval of
    `_of_equal_values`.

    Args:
        low, high: bounds of a possible value; the interval is clipped to them.
    """
    from scipy.special import stdtrit

    sample = np.asarray(values, dtype=float)
    value = float(sample.mean())
    if np.ptp(sample) == 0:
        return _of_equal_values(value, sample.size, low, high)
    quantile = stdtrit(sample.size - 1, 1 - _ERROR_RATE)
    half = float(quantile * sample.std(ddof=1) / np.sqrt(sample.size))
    return Estimate(value, max(low, value - half), min(high, value + half))


def _of_equal_values(value: float, count: int, low: float, high: float) -> Estimate:
    """Return a 95% interval for the mean of a distribution that gave the same value every time.

    Up to a share p of the distribution may differ from the value without showing in the sample,
    where (1 - p)^count is the error rate (Clopper and Pearson). At worst that share lies at a
    bound. Without bounds there is no interval, and neither for a single value: the ends are NaN.
    """
    if count == 1 or not np.isfinite([low, high]).all():
        return Estimate(value, np.nan, np.nan)
    unseen = 1 - _ERROR_RATE ** (1 / count)
    return Estimate(value, value - unseen * (value - low), value + unseen * (high - value))


def _wilson(rate: float, count: float) -> Estimate:
    """Return a rate with Wilson's interval for a number of episodes, which may be a fraction."""
    square = NormalDist().inv_cdf(1 - _ERROR_RATE) ** 2
    centre = (rate + square / (2 * count)) / (1 + square / count)
    half = np.sqrt(square * (rate * (1 - rate) / count + square / (4 * count**2)))
    half = float(half) / (1 + square / count)
    # At 0 and 1, one end is the rate itself, up to rounding.
    return Estimate(rate, min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def _newcombe(first: np.ndarray, second: np.ndarray, count: float) -> Estimate:
    a, b = _wilson(float(first.mean()), count), _wilson(float(second.mean()), count)
    correlation = _phi(first, second)
    below = _distance(b.value - b.low, a.high - a.value, correlation)
    above = _distance(b.high - b.value, a.value - a.low, correlation)
    gain = b.value - a.value
    return Estimate(gain, max(-1.0, gain - below), min(1.0, gain + above))


def _distance(one: float, other: float, correlation: float) -> float:
    return float(np.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2)))


def _phi(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of paired episodes, corrected for continuity as Newcombe does."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    margins = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    if not margins:
        return 0.0
    excess = both * neither - only_first * only_second
    if excess > 0:
        excess = max(0.0, excess - first.size / 2)
    return excess / float(np.sqrt(margins))


def _effective_episodes(means: np.ndarray, episodes: int, variance: float) -> float:
    """Return the number of independent episodes that tell as much as those of a few runs.

    Args:
        means: of each run.
        episodes: of each run.
        variance: of one episode, over all runs.
    """
    from scipy.special import stdtrit

    runs, total = means.size, means.size * episodes
    spread = float(means.var(ddof=1)) / runs
    effective = min(total, variance / spread) if spread > 0 else total
    few_runs = stdtrit(total - 1, 1 - _ERROR_RATE) / stdtrit(runs - 1, 1 - _ERROR_RATE)
    return float(effective * few_runs**2)


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

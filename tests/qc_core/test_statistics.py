"""Intervals agree with textbook values."""

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import astuple
from scipy.stats import bootstrap, norm, t

from qc_core.statistics import (
    Estimate,
    anytime_mean,
    mean,
    mean_is_above,
    mean_is_below,
    mean_over_seeds,
    success_gain,
    success_gain_over_seeds,
    success_rate,
    success_rate_over_seeds,
)


def test_success_rate_has_wilson_interval() -> None:
    rate = success_rate([True] * 45 + [False] * 5)
    assert astuple(rate) == pytest.approx((0.9, 0.7864, 0.9565), abs=1e-4)
    assert astuple(success_rate([True] * 50)) == pytest.approx((1.0, 0.9287, 1.0), abs=1e-4)
    assert success_rate([False] * 50).low == 0


def test_bootstrap_interval_is_near_the_normal_interval_and_repeatable() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    estimate = mean(values)
    half = 1.97 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.03)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.03)
    assert estimate == mean(values)


@pytest.mark.parametrize("average", [mean, mean_over_seeds])
def test_equal_values_without_bounds_have_no_interval(
    average: Callable[[list[int]], Estimate],
) -> None:
    estimate = average([3] * 20)
    assert estimate.value == 3 and math.isnan(estimate.low) and math.isnan(estimate.high)
    assert estimate.text("{:.0f}") == "3 (no interval)"


def test_equal_values_allow_a_few_others_up_to_the_bounds() -> None:
    # Clopper-Pearson for none of 50: up to 7.1% of the episodes may differ.
    assert astuple(mean([200] * 50, 0, 200)) == pytest.approx((200, 185.775, 200), abs=1e-3)
    assert astuple(mean([0] * 50, -100, 100)) == pytest.approx((0, -7.112, 7.112), abs=1e-3)


@pytest.mark.parametrize("count", [2, 9, 10])
def test_95_percent_of_intervals_of_few_episodes_contain_the_mean(count: int) -> None:
    samples = np.random.default_rng(0).normal(size=(80, count))
    covered = np.mean([e.low <= 0 <= e.high for e in map(mean, samples)])
    assert covered >= 0.9


def test_runs_without_a_success_have_an_interval() -> None:
    three, ten = (success_rate_over_seeds([0.0] * seeds, 50) for seeds in (3, 10))
    assert astuple(three) == pytest.approx((0, 0, 0.108), abs=1e-3)
    assert three.high > ten.high > success_rate([False] * 500).high
    full = success_rate_over_seeds([1.0] * 3, 50)
    assert astuple(full) == pytest.approx((1, 1 - three.high, 1))
    alone = success_rate_over_seeds([0.0], 50)
    assert math.isnan(alone.low) and math.isnan(alone.high)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.01, 0.3])
def test_intervals_of_success_over_seeds_contain_the_rate(seeds: int, spread: float) -> None:
    rng, rate = np.random.default_rng(0), 0.7
    runs = rng.beta(rate * (1 / spread - 1), (1 - rate) * (1 / spread - 1), (300, seeds))
    estimates = [success_rate_over_seeds(r, 50) for r in rng.binomial(50, runs) / 50]
    covered = np.mean([estimate.low <= rate <= estimate.high for estimate in estimates])
    assert covered >= 0.93


@pytest.mark.parametrize(
    ("cells", "low", "high"), [([36, 12, 2, 0], 0.0569, 0.3404), ([20, 12, 2, 16], 0.0562, 0.3292)]
)
def test_success_gain_has_newcombes_interval(cells: list[int], low: float, high: float) -> None:
    """The examples of his paper: both succeed, only the second, only the first, none."""
    second, first = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], cells, axis=0).T
    assert astuple(success_gain(first, second)) == pytest.approx((0.2, low, high), abs=1e-4)


def test_policies_that_end_alike_may_still_differ() -> None:
    gain = success_gain([False] * 50, [False] * 50)
    assert gain.value == 0 and gain.low == -gain.high and 0.05 < gain.high < 0.1
    over_seeds = success_gain_over_seeds([[True] * 50] * 3, [[True] * 50] * 3)
    assert over_seeds.value == 0 and over_seeds.high > gain.high
    alone = success_gain_over_seeds([[True]], [[False]])
    assert alone.value == -1 and math.isnan(alone.low)


def test_a_gain_that_each_seed_shows_is_a_difference() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 50)) < 0.5, rng.random((5, 50)) < 0.9
    gain = success_gain_over_seeds(first, second)
    assert gain.value == pytest.approx(second.mean() - first.mean()) and gain.low > 0.1


def test_batched_bootstrap_equals_scipy_bootstrap() -> None:
    values = np.random.default_rng(1).normal(10, 2, 300)
    level = 1 - 2 * float(norm.sf(t.ppf(0.975, 299) * np.sqrt(300 / 299)))
    expected = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, confidence_level=level, rng=0
    )
    assert astuple(mean(values))[1:] == tuple(expected.confidence_interval)


def test_bootstrap_of_many_values_takes_little_memory() -> None:
    mean([0, 1])
    tracemalloc.start()
    try:
        mean(np.random.default_rng(0).normal(size=4000))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_mean_over_seeds_has_student_interval() -> None:
    estimate = mean_over_seeds([0.2, 0.6, 0.7])
    assert astuple(estimate) == pytest.approx((0.5, 0.5 - 0.6572, 0.5 + 0.6572), abs=1e-4)
    assert mean_over_seeds([0.2, 0.6, 0.7], 0, 1).low == 0
    assert mean_over_seeds([0.2, 0.6, 0.7], 0, 1).high == 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_95_percent_of_intervals_over_few_seeds_contain_the_mean(seeds: int) -> None:
    runs = np.random.default_rng(0).normal(size=(1000, seeds))
    estimates = map(mean_over_seeds, runs)
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_no_interval() -> None:
    estimate = mean_over_seeds([0.7], 0, 1)
    assert estimate.value == 0.7 and math.isnan(estimate.low) and math.isnan(estimate.high)


def test_anytime_interval_is_valid_after_every_value() -> None:
    """A fixed-size interval that is checked as often is wrong in a quarter of these cases."""
    truth, wrong = 0.1, 0
    for values in np.random.default_rng(0).random((200, 60)) < truth:
        wrong += any(
            mean_is_above(values[:count], truth, 0, 1) or mean_is_below(values[:count], truth, 0, 1)
            for count in range(1, 61)
        )
    assert wrong <= 0.05 * 200


def test_bound_checks_agree_with_the_ends_of_the_anytime_interval() -> None:
    values = np.random.default_rng(0).normal(20, 30, 80).clip(-100, 100)
    _, low, high = astuple(anytime_mean(values, -100, 100))
    for bound, above, below in (
        (low - 0.01, True, False),
        (low + 0.01, False, False),
        (high - 0.01, False, False),
        (high + 0.01, False, True),
    ):
        assert mean_is_above(values, bound, -100, 100) is above
        assert mean_is_below(values, bound, -100, 100) is below


def test_anytime_interval_narrows_around_the_mean_and_stays_in_bounds() -> None:
    rng = np.random.default_rng(0)
    few, many = (anytime_mean(rng.random(count) < 0.7, 0, 1) for count in (50, 5000))
    assert few.low < many.low < 0.7 < many.high < few.high
    assert many.high - many.low < 0.08
    nothing = anytime_mean([0] * 20, 0, 1)
    assert (nothing.value, nothing.low) == (0, 0) and 0.1 < nothing.high < 0.3
    everything = anytime_mean([1] * 20, 0, 1)
    assert astuple(everything) == pytest.approx((1, 1 - nothing.high, 1))
    assert anytime_mean([3], 0, 10).low < 0.5

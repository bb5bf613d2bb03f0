"""Intervals agree with textbook values."""

import math
import tracemalloc

import numpy as np
import pytest
from msgspec.structs import astuple
from scipy.stats import bootstrap

from qc_core.statistics import (
    Estimate,
    anytime_mean,
    mean,
    mean_is_above,
    mean_is_below,
    mean_over_seeds,
    success_rate,
)


def test_success_rate_has_wilson_interval() -> None:
    rate = success_rate([True] * 45 + [False] * 5)
    assert astuple(rate) == pytest.approx((0.9, 0.7864, 0.9565), abs=1e-4)
    assert astuple(success_rate([True] * 50)) == pytest.approx((1.0, 0.9287, 1.0), abs=1e-4)
    assert success_rate([False] * 50).low == 0


def test_bootstrap_interval_is_near_the_normal_interval_and_repeatable() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    estimate = mean(values)
    half = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.03)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.03)
    assert estimate == mean(values)


def test_equal_values_have_an_interval_of_width_zero() -> None:
    assert mean([3, 3, 3]) == Estimate(3, 3, 3)


def test_batched_bootstrap_equals_scipy_bootstrap() -> None:
    values = np.random.default_rng(1).normal(10, 2, 300)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=0)
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

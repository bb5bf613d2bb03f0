"""Intervals are the textbook's."""

import numpy as np
import pytest

from qc_core.statistics import mean, success_rate


def test_success_rate_has_wilsons_interval() -> None:
    rate = success_rate([True] * 45 + [False] * 5)
    assert rate == pytest.approx((0.9, 0.7864, 0.9565), abs=1e-4)
    assert success_rate([True] * 50) == pytest.approx((1.0, 0.9287, 1.0), abs=1e-4)
    assert success_rate([False] * 50).low == 0


def test_mean_has_an_interval_near_the_normal_one_and_is_repeatable() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    estimate = mean(values)
    half = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.03)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.03)
    assert estimate == mean(values)


def test_equal_values_have_no_spread() -> None:
    assert mean([3, 3, 3]) == (3, 3, 3)

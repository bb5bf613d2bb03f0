"""Policies that are equally good are rarely called different, however many are compared."""

import numpy as np
import pytest

from qc_core.significance import LEVEL, holm, paired_p_value


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([1, 2, 3], 1 / 8),
        # Of 32 sign patterns, one has the sum 5 and five have the sum 3.
        ([1, 1, -1, 1, 1], 6 / 32),
        ([0, 0, 1, 0, 2], 1 / 4),
        ([-1, -2], 1.0),
        ([0, 0, 0], 1.0),
        ([5], 1 / 2),
    ],
)
def test_p_values_count_the_sign_patterns(gains: list[float], expected: float) -> None:
    assert paired_p_value(gains) == pytest.approx(expected)


def test_many_episodes_give_a_small_but_positive_p_value() -> None:
    assert 0 < paired_p_value([1.0] * 50) < 1e-4


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_candidates() -> None:
    # The example of Holm's method in textbooks.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_of_studies_without_any_gain_at_most_one_in_twenty_has_a_winner() -> None:
    rng = np.random.default_rng(1)
    # 4 trials of 10 episodes, all of which succeed as often as the baseline.
    gains = rng.integers(-1, 2, size=(150, 4, 10))
    winners = [min(holm([paired_p_value(g) for g in study])) <= LEVEL for study in gains]
    uncorrected = [min(paired_p_value(g) for g in study) <= LEVEL for study in gains]
    assert np.mean(winners) <= LEVEL < np.mean(uncorrected)

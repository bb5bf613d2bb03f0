"""Coherence measures agree with values computed by hand."""

from math import nan

import numpy as np
import pytest
from msgspec.structs import astuple

from qc_core.envs.trajectory import Landmark, Trajectory
from qc_core.errors import RunError
from qc_core.evaluation.coherence import (
    LAGS,
    WINDOW,
    autocorrelation,
    cells_visited,
    compare,
    displacements,
    observation_spread,
    paired,
    path_length,
    spread,
)

LINE = np.arange(31)[:, None] * np.array([0.03, 0.04, 0.0])
ALTERNATING = np.tile([[1.0], [-1.0]], (15, 1))
PLACE = Landmark("end effector", 0.05)


def trajectory(
    positions_TX: np.ndarray, actions_TA: np.ndarray, observations_TO: np.ndarray | None = None
) -> Trajectory:
    observations_TO = positions_TX if observations_TO is None else observations_TO
    return Trajectory(observations_TO, actions_TA, PLACE, positions_TX)


def random_walk(steps: int) -> np.ndarray:
    steps_TX = np.random.default_rng(0).normal(size=(steps, 3))
    return np.concatenate([np.zeros((1, 3)), steps_TX.cumsum(axis=0)])


def test_displacement_of_a_straight_line_equals_its_path_length() -> None:
    np.testing.assert_allclose(displacements(LINE, 4), [0.05, 0.10, 0.15, 0.20])
    assert path_length(LINE, 4) == pytest.approx(0.20)


def test_back_and_forth_motion_has_no_displacement_at_even_lags() -> None:
    there_and_back = np.tile([[0.0, 0.0], [0.0, 2.0]], (8, 1))
    np.testing.assert_allclose(displacements(there_and_back, 3), [2, 0, 2])
    assert path_length(there_and_back, 3) == pytest.approx(6)


def test_displacement_of_a_random_walk_grows_like_the_square_root() -> None:
    reached = displacements(random_walk(100_000), 16)
    assert reached[15] / reached[3] == pytest.approx(2, rel=0.02)
    assert reached[3] / reached[0] == pytest.approx(2, rel=0.02)


def test_path_length_is_the_mean_over_all_windows() -> None:
    slow_then_fast = np.array([0, 1, 2, 4.0])[:, None]
    assert path_length(slow_then_fast, 2) == pytest.approx((2 + 3) / 2)


def test_spread_is_the_distance_from_the_mean_position() -> None:
    corners = np.array([[3.0, 3, 0], [3, -3, 0], [-3, 3, 0], [-3, -3, 0]])
    assert spread(corners) == pytest.approx(3 * np.sqrt(2))
    assert spread(np.ones((5, 3))) == 0


def test_each_cell_is_counted_once_and_zero_is_a_cell_boundary() -> None:
    visited = np.array([[0.01, 0.0], [0.04, 0.049], [0.01, 0.0], [-0.01, 0.0], [0.06, 0.0]])
    assert cells_visited(visited, 0.05) == 3


def test_autocorrelation_of_three_actions_by_hand() -> None:
    # Minus their mean: -1, 0, 1. Lag 1: (0 + 0) / 2; lag 2: -1 / 2.
    np.testing.assert_allclose(autocorrelation(np.array([[1.0], [2], [3]]), 2), [0, -0.5])


def test_alternating_action_has_negative_autocorrelation_at_odd_lags() -> None:
    np.testing.assert_allclose(autocorrelation(ALTERNATING, 3), [-29 / 30, 28 / 30, -27 / 30])


def test_constant_action_has_autocorrelation_one() -> None:
    constant = np.full((30, 1), 0.1)
    np.testing.assert_array_equal(autocorrelation(constant, 5), np.ones(5))
    both = np.hstack([constant, ALTERNATING])
    assert autocorrelation(both, 1) == pytest.approx((1 - 29 / 30) / 2)


def test_white_noise_has_no_autocorrelation() -> None:
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    np.testing.assert_allclose(autocorrelation(noise, 5), 0, atol=0.02)


def test_observation_spread_is_scaled_and_ignores_constant_observations() -> None:
    observations = np.array([[0.0, 10, 7], [2, 10, 7]])
    assert observation_spread(observations, np.array([2.0, 5, 0])) == pytest.approx(0.25)
    assert observation_spread(observations, np.zeros(3)) == 0


def test_pairs_are_truncated_to_equal_length_and_short_pairs_dropped() -> None:
    long, short = trajectory(LINE, ALTERNATING), trajectory(LINE[:26], ALTERNATING[:25])
    shorter = trajectory(LINE[: LAGS + 1], ALTERNATING[:LAGS])
    first, second = paired([long, short, long], [short, long, shorter])
    assert [t.steps for t in first] == [t.steps for t in second] == [25, 25]
    assert all(len(t.positions_TX) == len(t.observations_TO) == 26 for t in first + second)
    with pytest.raises(RunError, match=f"none of 1 pairs has more than {LAGS} steps"):
        paired([long], [shorter])


def test_two_rollouts_are_compared_pair_by_pair() -> None:
    resting = np.zeros_like(LINE)
    constant = np.ones((30, 1))
    report = compare(
        {
            "straight": [trajectory(LINE, constant), trajectory(2 * LINE, constant)],
            "resting": [trajectory(resting, ALTERNATING), trajectory(resting, ALTERNATING)],
        }
    )
    assert (report.episodes, report.control_steps) == (2, 60)
    straight, rests = (rollout.measures for rollout in report.rollouts)
    assert straight["path-metres"].value == pytest.approx(0.05 * 1.5 * WINDOW)
    assert straight["straightness"].value == pytest.approx(1)
    assert (rests["path-metres"].value, rests["straightness"].value) == (0, 0)
    # Equal values without bounds have no interval.
    assert astuple(rests["cells"]) == pytest.approx((1, nan, nan), nan_ok=True)
    gain = report.differences["displacement-metres"]
    assert gain.value == pytest.approx(0.75)
    assert gain.low < 0.5 and gain.high > 1
    assert report.differences["autocorrelation"].value == pytest.approx(1 + 29 / 30)
    curves = report.rollouts[0].curves
    assert {name: len(curve) for name, curve in curves.items()} == {
        "autocorrelation": LAGS,
        "displacement-metres": LAGS,
    }
    assert curves["displacement-metres"][2].value == pytest.approx(0.05 * 1.5 * 3)


def test_without_a_position_only_actions_and_observations_are_measured() -> None:
    unplaced = Trajectory(LINE, ALTERNATING, None, np.empty((31, 0)))
    report = compare({"one": [unplaced], "two": [unplaced]})
    assert report.place is None
    for rollout in report.rollouts:
        assert set(rollout.measures) == {"autocorrelation", "observation-spread"}
        assert set(rollout.curves) == {"autocorrelation"}

"""Offline figures compare policies with recorded actions of held-out episodes."""

from pathlib import Path

import numpy as np
import pytest

from qc_core.data.dataset.dataset import Dataset, DatasetWriter, open_dataset
from qc_core.data.hold_out import hold_out
from qc_core.errors import UsageError
from qc_core.evaluation.held_out import held_out_windows, log_likelihoods
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes

ROBOT = EnvironmentSpec(
    id="robot/arm",
    observation_names=("a", "b", "c"),
    action_names=("x", "y"),
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    episode_limit=20,
    control_interval=0.1,
)


def recorded(folder: Path, lengths: list[int]) -> Dataset:
    writer = DatasetWriter(folder, ROBOT)
    writer.append(random_episodes(ROBOT, lengths))
    writer.finish(DataSource(kind="test"))
    return open_dataset(folder)


def test_every_tenth_episode_is_held_out(tmp_path: Path) -> None:
    lengths = [*range(3, 14), 9]
    everything = recorded(tmp_path / "all", lengths)
    hold_out(everything, tmp_path / "split")
    kept = open_dataset(tmp_path / "split", verify=True)
    held_out = kept.validation
    assert held_out is not None and held_out.transitions == lengths[9]
    assert (kept.info.episodes, kept.transitions) == (11, sum(lengths) - lengths[9])
    start = sum(lengths[:9])
    np.testing.assert_array_equal(held_out.actions, everything.actions[start : start + 12])
    np.testing.assert_array_equal(
        held_out.observations, everything.observations[start + 9 : start + 9 + 13]
    )
    np.testing.assert_array_equal(
        np.concatenate([kept.rewards[:start], held_out.rewards, kept.rewards[start:]]),
        everything.rewards,
    )


def test_of_few_episodes_the_last_one_is_held_out(tmp_path: Path) -> None:
    hold_out(recorded(tmp_path / "all", [4, 5, 6]), tmp_path / "split")
    held_out = open_dataset(tmp_path / "split").validation
    assert held_out is not None and held_out.transitions == 6


class Normal:
    """A policy of normally distributed actions around the recorded ones."""

    noise_shape, execution_horizon = (8,), 4

    def __init__(self, chunks_WHA: np.ndarray, deviation: float) -> None:
        self._chunks_WHA, self._deviation = chunks_WHA, deviation

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return self._chunks_WHA + self._deviation * noise.reshape(-1, 4, 2)


def test_the_likelihood_is_that_of_the_kernel_around_each_sample(tmp_path: Path) -> None:
    hold_out(recorded(tmp_path / "all", [4, 13]), tmp_path / "split")
    windows = held_out_windows(tmp_path / "split" / "validation", 4)
    # Complete chunks only: the thirteenth step is left out.
    assert len(windows.chunks_WHA) == 3 and windows.episodes == 1
    exact, near, far = (
        log_likelihoods(Normal(windows.chunks_WHA, deviation), windows, (-1, -1), (1, 1))
        for deviation in (0.0, 0.05, 0.5)
    )
    assert exact == pytest.approx(-np.log(0.1 * np.sqrt(2 * np.pi)))
    assert exact > near > far
    # Twice the range: half the density per number.
    wide = log_likelihoods(Normal(windows.chunks_WHA, 0.1), windows, (-2, -2), (2, 2))
    assert wide == pytest.approx(near)


def test_data_without_held_out_chunks_are_refused(tmp_path: Path) -> None:
    hold_out(recorded(tmp_path / "one", [9]), tmp_path / "same")
    with pytest.raises(UsageError, match="no held-out episodes: record at least two"):
        held_out_windows(tmp_path / "same" / "validation", 4)
    hold_out(recorded(tmp_path / "all", [9, 3]), tmp_path / "split")
    with pytest.raises(UsageError, match="no held-out episode has 4 steps"):
        held_out_windows(tmp_path / "split" / "validation", 4)

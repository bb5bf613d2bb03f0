"""Numbers that are far from all others are reported with their place."""

from pathlib import Path

import numpy as np
import pytest

from qc_core.data.dataset.dataset import Dataset, DatasetWriter, open_dataset
from qc_core.data.extremes import extreme_values
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes

LENGTHS = [40, 60]


@pytest.fixture
def spec() -> EnvironmentSpec:
    return EnvironmentSpec(
        id="robot/arm",
        observation_names=("x", "y"),
        action_names=("a",),
        action_low=(-1.0,),
        action_high=(1.0,),
        episode_limit=100,
        control_interval=0.1,
    )


def dataset(folder: Path, spec: EnvironmentSpec, rewards: np.ndarray, column: int = -1) -> Dataset:
    writer = DatasetWriter(folder, spec)
    episodes = random_episodes(spec, LENGTHS)
    episodes.rewards[:] = rewards
    if column >= 0:
        # Step 5 of the second episode, whose first has 41 observations.
        episodes.observations[46, column] = -1e8
    writer.append(episodes)
    writer.finish(DataSource(kind="test"))
    return open_dataset(folder)


def test_a_reward_that_is_far_from_all_others_is_reported_with_its_step(
    tmp_path: Path, spec: EnvironmentSpec
) -> None:
    rewards = np.full(sum(LENGTHS), -1.0)
    rewards[43] = 1e30
    (line,) = extreme_values(dataset(tmp_path / "d", spec, rewards))
    assert line.startswith("rewards reach 1e+30 in step 3 of episode 1, 99.5% of them are within")


def test_an_observation_that_is_far_from_all_others_is_reported_with_its_name(
    tmp_path: Path, spec: EnvironmentSpec
) -> None:
    (line,) = extreme_values(dataset(tmp_path / "d", spec, np.zeros(sum(LENGTHS)), column=1))
    assert line.startswith("observation y reach -1e+08 in step 5 of episode 1")


def test_rare_rewards_of_an_ordinary_size_are_not_extreme(
    tmp_path: Path, spec: EnvironmentSpec
) -> None:
    rewards = np.zeros(sum(LENGTHS))
    rewards[39] = 100.0
    assert extreme_values(dataset(tmp_path / "d", spec, rewards)) == []

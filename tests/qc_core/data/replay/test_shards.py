"""Shards are loaded in turn, cover the dataset and end with episodes."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, open_dataset
from qc_core.data.replay import shards as module
from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.shards import Shards, observation_statistics
from qc_core.data.replay.windows import sample_windows
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes

LENGTHS = [7, 12, 9, 11, 20, 6, 8, 10, 13, 4]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory, spec: EnvironmentSpec) -> Dataset:
    """A hundred transitions, each reward its own number."""
    episodes = random_episodes(spec, LENGTHS)
    folder = tmp_path_factory.mktemp("data") / "numbered"
    writer = DatasetWriter(folder, spec)
    writer.append(replace(episodes, rewards=np.arange(100, dtype=np.float32)))
    writer.finish(DataSource())
    return open_dataset(folder)


def data_of(part: Dataset) -> OfflineData:
    return OfflineData(part, torch.device("cpu"), DataConfig())


def sharded(config: Config, shard_size: int, updates: int = 3) -> Config:
    data = replace(config.data, shard_size=shard_size, shard_updates=updates)
    return replace(config, data=data)


@pytest.mark.parametrize("shard_size", [20, 33, 50, 99])
def test_shards_cover_the_data_set_once_and_end_with_episodes(
    numbered: Dataset, config: Config, shard_size: int
) -> None:
    whole = data_of(numbered)
    with Shards(numbered, sharded(config, shard_size, updates=1), data_of) as shards:
        parts = [shards.shard_at(update) for update in range(1, len(shards) + 1)]
        again = shards.shard_at(len(shards) + 1)
    assert len(parts) == len({id(part) for part in parts}) == -(-100 // shard_size)
    assert torch.equal(again.rewards, parts[0].rewards)
    rewards = torch.cat([part.rewards for part in parts])
    assert rewards.tolist() == list(range(100))
    for part in parts:
        assert part.size <= shard_size + max(LENGTHS)
        assert part.terminals[-1] == 1
        here, there = torch.arange(part.size), part.rewards.long()
        assert torch.equal(part.observations_at(here), whole.observations_at(there))
        assert torch.equal(part.next_observations_at(here), whole.next_observations_at(there))
        assert torch.equal(part.actions, whole.actions[there])
        assert torch.equal(part.masks, whole.masks[there])
        assert torch.equal(part.terminals, whole.terminals[there])


def test_windows_of_a_shard_equal_those_of_the_data_set(numbered: Dataset, config: Config) -> None:
    sliced = sharded(config, 30)
    whole = data_of(numbered)
    with Shards(numbered, sliced, data_of) as shards:
        for update in range(1, 40):
            part = shards.shard_at(update)
            # Starts are drawn from the part alone, so compare by a seed of its own.
            windows = sample_windows(part, sliced, torch.Generator().manual_seed(update))
            first = int(part.rewards[0])
            uniform = torch.rand(
                config.train.batch_size,
                generator=torch.Generator().manual_seed(update),
                dtype=torch.float64,
            )
            drawn = part.sample_starts(uniform, config.train.backup_steps)
            assert torch.equal(windows.observations_BO, whole.observations_at(drawn + first))


@pytest.mark.parametrize("shard_size", [0, 100, 10**9])
def test_a_data_set_that_fits_stays_memory_mapped(
    numbered: Dataset, config: Config, shard_size: int
) -> None:
    loaded: list[Dataset] = []
    with Shards(numbered, sharded(config, shard_size), loaded.append) as shards:
        for update in range(1, 30):
            shards.shard_at(update)
    assert len(loaded) == 1 and loaded[0] is numbered


def test_the_next_shard_is_loaded_in_the_background(numbered: Dataset, config: Config) -> None:
    read: list[tuple[float, str]] = []

    def load(part: Dataset) -> float:
        read.append((float(part.rewards[0]), threading.current_thread().name.split("_")[0]))
        return float(part.rewards[0])

    with Shards(numbered, sharded(config, 50, updates=3), load) as shards:
        drawn = [shards.shard_at(update) for update in range(1, 13)]
        second = next(start for start in drawn if start)
        assert drawn == [0, 0, 0, second, second, second] * 2
        assert read[0] == (0, "MainThread")
        assert all(thread == "shards" for _, thread in read[1:])


def test_training_may_start_at_any_update(numbered: Dataset, config: Config) -> None:
    def first(part: Dataset) -> float:
        return float(part.rewards[0])

    with Shards(numbered, sharded(config, 20, updates=2), first) as shards:
        in_order = [shards.shard_at(update) for update in range(1, 31)]
    for update in (30, 3, 11, 1, 2, 9, 10):
        with Shards(numbered, sharded(config, 20, updates=2), first) as shards:
            assert shards.shard_at(update) == in_order[update - 1]
            assert shards.shard_at(update + 1) == in_order[update % 30]
            assert shards.shard_at(5) == in_order[4]


def test_an_error_while_loading_a_shard_is_raised(numbered: Dataset, config: Config) -> None:
    def load(part: Dataset) -> None:
        if part.rewards[0] > 0:
            raise MemoryError("no room")

    with Shards(numbered, sharded(config, 50, updates=2), load) as shards:
        shards.shard_at(1)
        shards.shard_at(2)
        with pytest.raises(MemoryError, match="no room"):
            shards.shard_at(3)


def test_shards_shorter_than_a_backup_are_refused(numbered: Dataset, config: Config) -> None:
    long = replace(sharded(config, 10), train=replace(config.train, backup_horizon=13))
    with pytest.raises(UsageError, match=r"shard-size 10 gives a shard of \d+ transitions"):
        Shards(numbered, long, data_of)


@pytest.mark.parametrize("block_rows", [1, 17, 1000])
def test_statistics_cover_all_observations(
    numbered: Dataset, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_ROWS", block_rows)
    mean, std = observation_statistics(numbered)
    np.testing.assert_allclose(mean, numbered.observations.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(std, numbered.observations.std(axis=0, dtype=float), rtol=1e-6)


def test_constant_observations_keep_their_scale(tmp_path: Path, spec: EnvironmentSpec) -> None:
    episodes = random_episodes(spec, [20])
    episodes.observations[:, 3] = 7.0
    writer = DatasetWriter(tmp_path / "d", spec)
    writer.append(episodes)
    writer.finish(DataSource())
    mean, std = observation_statistics(open_dataset(tmp_path / "d"))
    assert (mean[3], std[3]) == (7, 1)
    np.testing.assert_allclose(std[0], episodes.observations[:, 0].std(), rtol=1e-5)

"""Shards of a dataset replace each other, in place if requested."""

from pathlib import Path

import pytest
import torch

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, open_dataset
from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.shard_buffer import ShardBuffer
from qc_core.data.replay.shards import Shards
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes

CPU = torch.device("cpu")
UPDATES = 3


def shards_of(folder: Path, spec: EnvironmentSpec, lengths: list[int], shard_size: int):
    writer = DatasetWriter(folder, spec)
    writer.append(random_episodes(spec, lengths))
    writer.finish(DataSource(kind="test"))
    config = Config(data=DataConfig(shard_size=shard_size, shard_updates=UPDATES))

    def load(part: Dataset) -> OfflineData:
        return OfflineData(part, CPU, config.data)

    return Shards(open_dataset(folder), config, load)


def contents(transitions: OfflineData) -> tuple[torch.Tensor, ...]:
    every = torch.arange(transitions.size)
    return (
        transitions.observations_at(every),
        transitions.next_observations_at(every),
        transitions.actions[every],
        transitions.rewards[every],
        transitions.terminals[every],
        transitions.sample_starts(torch.linspace(0, 0.999, 50, dtype=torch.float64), 5),
    )


@pytest.mark.parametrize("lengths", [[40, 40, 40], [45, 35, 40], [40, 45, 35]], ids=str)
def test_a_shard_copied_in_place_equals_the_loaded_shard(
    tmp_path: Path, spec: EnvironmentSpec, lengths: list[int]
) -> None:
    with (
        shards_of(tmp_path / "a", spec, lengths, 40) as fresh,
        shards_of(tmp_path / "b", spec, lengths, 40) as standing,
    ):
        buffer = ShardBuffer(standing)
        place, moves = buffer.transitions.rewards.data_ptr(), 0
        for update in range(1, 5 * UPDATES):
            moved = buffer.advance(update, in_place=True)
            got, expected = contents(buffer.transitions), contents(fresh.shard_at(update))
            assert all(map(torch.equal, got, expected))
            assert moved == (buffer.transitions.rewards.data_ptr() != place)
            place, moves = buffer.transitions.rewards.data_ptr(), moves + moved
        # It moves only for a part that is longer than all before it.
        assert moves == sum(later > max(lengths[:i]) for i, later in enumerate(lengths) if i)


def test_a_single_shard_is_never_replaced(tmp_path: Path, spec: EnvironmentSpec) -> None:
    with shards_of(tmp_path / "a", spec, [30, 30], 0) as shards:
        buffer = ShardBuffer(shards)
        before = buffer.transitions
        assert not any(buffer.advance(update, in_place=False) for update in range(1, 20))
        assert buffer.transitions is before

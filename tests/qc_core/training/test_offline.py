"""Offline training can stop and resume with the same result."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.errors import UsageError
from qc_core.training.checkpoint import Checkpoint, read_curve
from qc_core.training.offline import OfflineTraining
from qc_core.training.saved_agent import load_agent, load_training_state, save_checkpoint

CPU = torch.device("cpu")


def test_a_restored_training_ends_with_the_same_weights(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    data = open_dataset(dataset)
    with OfflineTraining(config, data, CPU) as whole:
        whole.run(4, lambda *_: None)

    with OfflineTraining(config, data, CPU) as first:
        first.run(2, lambda *_: None)
    checkpoint = Checkpoint(
        config=config,
        spec=data.spec,
        dataset_digest=data.digest,
        offline_steps=2,
        online_steps=0,
    )
    save_checkpoint(tmp_path / "c", first.agent, checkpoint, first.curve, first.state())
    with OfflineTraining(config, data, CPU, load_agent(tmp_path / "c", CPU)) as second:
        second.restore(load_training_state(tmp_path / "c"))
        second.curve.extend(read_curve(tmp_path / "c"))
        assert second.step == 2
        second.run(4, lambda *_: None)

    expected = whole.agent.state_dict()
    assert all(torch.equal(expected[n], v) for n, v in second.agent.state_dict().items())
    assert [point["step"] for point in second.curve] == [2, 4]


def test_a_method_without_an_offline_phase_has_no_steps(config: Config, dataset: Path) -> None:
    online_only = replace(config, train=config.train.changed(method="rlpd"))
    assert OfflineTraining(online_only, open_dataset(dataset), CPU).steps == 0


def test_a_checkpoint_without_a_training_state_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=r"training\.safetensors is missing or damaged"):
        load_training_state(checkpoint)


def test_agents_use_the_action_bounds_of_the_data_set(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    """With bounds of 0 and 10, actions are between 0 and 10."""
    data = open_dataset(dataset)
    wide = msgspec.structs.replace(data.spec, action_low=(0.0,) * 5, action_high=(10.0,) * 5)
    data = replace(data, spec=wide)
    training = OfflineTraining(config, data, CPU)
    chunk = training.agent.chunk(torch.randn(64, 28), torch.randn(64, 25) * 9)
    assert chunk.min() == 0
    assert chunk.max() == 10

"""A CUDA graph can record how windows are sampled from a dataset and from a replay buffer."""

from pathlib import Path

import pytest
import torch

from qc_core.config.settings import Config, DataConfig, TrainConfig
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.replay.replay import ActionBounds, OfflineData, Replay
from qc_core.data.replay.windows import concatenate, gather_windows
from tests.qc_core.agents.test_recording import CPU, META, GraphChecker


@pytest.mark.parametrize("device", [META, CPU], ids=str)
@pytest.mark.parametrize("num_envs", [1, 3])
def test_sampling_stays_on_its_device_and_never_waits_for_the_host(
    dataset: Path, device: torch.device, num_envs: int
) -> None:
    offline = OfflineData(open_dataset(dataset), device, DataConfig())
    bounds = ActionBounds([-1.0] * 5, [1.0] * 5, device)
    config = Config(train=TrainConfig(num_envs=num_envs))
    replay = Replay(offline.size + 20, 28, bounds, device, config, offline)
    uniform_B = torch.zeros(8, dtype=torch.float64, device=device)
    with GraphChecker(device):
        parts = [
            gather_windows(
                source, source.sample_starts(uniform_B, 5), backup_steps=5, discount=0.99
            )
            for source in (offline, replay)
        ]
        windows = concatenate(*parts)
    assert windows.actions_BHA.shape == (16, 5, 5)

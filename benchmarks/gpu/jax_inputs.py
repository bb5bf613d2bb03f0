"""The product's networks and data as arrays, for the JAX update and the comparison with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset
from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.windows import Windows, gather_windows


def network_arrays(agent: Agent) -> dict[str, dict[str, list[np.ndarray]]]:
    """The networks of a QC-FQL agent: weights [W, I], biases, LayerNorm scales and shifts."""
    networks = {}
    for network in ("flow", "one_step", "critic", "target_critic"):
        prefix = "flow.mlp" if network == "flow" else network
        state = agent.state_dict()
        networks[network] = {
            group: [
                state[name].float().cpu().numpy()
                for name in state
                if name.startswith(f"{prefix}.{group}.")
            ]
            for group in ("weights", "biases", "scales", "shifts")
        }
    return networks


def batch_arrays(agent: Agent, windows: Windows, noise: Any) -> dict[str, np.ndarray]:
    """Normalised windows and noise of one QC-FQL update, by the names that JAX uses."""
    normal = agent.normalize_windows(windows)
    tensors = {
        "observations": normal.observations_BO,
        "next_observations": normal.next_observations_BO,
        "actions": normal.actions_BHA.flatten(1),
        "returns": normal.returns_B,
        "bootstrap": normal.bootstrap_B,
        "weight": normal.weight_B,
        "valid": normal.valid_BH,
        "target_noise": noise.target,
        "flow_noise": noise.flow_x0_BL,
        "flow_time": noise.flow_time_B1,
        "distillation_noise": noise.distillation_BL,
    }
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def replay_arrays(dataset: Dataset, settings: Config) -> dict[str, np.ndarray]:
    """The columns of a dataset as training sees them."""
    data = OfflineData(dataset, torch.device("cpu"), settings.data)
    rows = torch.arange(data.size)
    return {
        "observations": np.asarray(dataset.observations),
        "observation_index": np.asarray(dataset.observation_index).astype(np.int32),
        "actions": data.actions[rows].numpy(),
        "rewards": data.rewards[rows].numpy(),
        "masks": data.masks[rows].numpy(),
        "terminals": data.terminals[rows].numpy(),
    }


def windows_at(dataset: Dataset, settings: Config, starts: np.ndarray) -> Windows:
    """The windows that start at these transitions."""
    return gather_windows(
        OfflineData(dataset, torch.device("cpu"), settings.data),
        torch.from_numpy(starts.astype(np.int64)),
        backup_steps=settings.train.backup_steps,
        discount=settings.train.discount,
    )

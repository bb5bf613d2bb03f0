"""Transitions as tensors: the data set itself, and a buffer that grows online.

Shapes: N transitions, O observation, A action.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qc_core.data.dataset import Dataset

# The paper keeps data actions this far inside their bounds.
ACTION_MARGIN = 1e-5
_BLOCK_ROWS = 1 << 20


class OfflineData:
    """A data set on a device, or memory-mapped when it stays on the CPU."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        def load(array: np.ndarray) -> Tensor:
            if device.type == "cpu":
                return _from_readonly(array)
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self._observations = load(dataset.observations)
        self._observation_index = load(dataset.observation_index)
        limit = 1 - ACTION_MARGIN
        self.actions = load(dataset.actions).clamp(-limit, limit)
        self.rewards = load(dataset.rewards)
        self.masks = load(dataset.masks)
        self.terminals = load(dataset.terminals)

    @property
    def size(self) -> int:
        return len(self.rewards)

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long()]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long() + 1]

    def observation_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [O] per coordinate; a constant one keeps its scale."""
        blocks = self._observations.split(_BLOCK_ROWS)
        rows = len(self._observations)
        mean_O = sum((block.double().sum(dim=0) for block in blocks), torch.tensor(0.0)) / rows
        squares_O = sum(
            ((block.double() - mean_O).square().sum(dim=0) for block in blocks), torch.tensor(0.0)
        )
        std_O = (squares_O / rows).sqrt()
        return mean_O.float(), torch.where(std_O < 1e-6, 1.0, std_O).float()


class Replay:
    """Offline transitions with online ones behind them, in one buffer.

    Args:
        capacity: transitions it can hold; adding more raises IndexError, since no offline
            transition is ever given up for an online one.
    """

    def __init__(self, offline: OfflineData, capacity: int) -> None:
        everything = torch.arange(offline.size, device=offline.rewards.device)
        self.size = 0
        self._observations = _grow(offline.observations_at(everything), capacity)
        self._next_observations = _grow(offline.next_observations_at(everything), capacity)
        self.actions = _grow(offline.actions, capacity)
        self.rewards = _grow(offline.rewards, capacity)
        self.masks = _grow(offline.masks, capacity)
        self.terminals = _grow(offline.terminals, capacity)
        self.size = offline.size

    def add(
        self,
        observation: np.ndarray,
        action: np.ndarray,
        reward: float,
        next_observation: np.ndarray,
        *,
        terminated: bool,
        ended: bool,
    ) -> None:
        """Append one transition.

        Args:
            terminated: the task is over here; its value needs no bootstrap.
            ended: the episode's last transition, by success or by time.
        """
        row, limit = self.size, 1 - ACTION_MARGIN
        self._observations[row] = torch.as_tensor(observation)
        self._next_observations[row] = torch.as_tensor(next_observation)
        self.actions[row] = torch.as_tensor(action).clamp(-limit, limit)
        self.rewards[row] = reward
        self.masks[row] = 0.0 if terminated else 1.0
        self.terminals[row] = 1.0 if ended else 0.0
        self.size += 1

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[index]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._next_observations[index]


def _grow(values: Tensor, capacity: int) -> Tensor:
    """A copy with room for `capacity` rows."""
    grown = values.new_zeros(capacity, *values.shape[1:])
    grown[: len(values)] = values
    return grown


def _from_readonly(array: np.ndarray) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        # The tensor is only ever read; torch warns that it could be written.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)

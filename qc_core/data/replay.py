"""Transitions as tensors: the data set itself, and a buffer that grows online.

Shapes: N transitions, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from qc_core.data.dataset import Dataset
from qc_core.data.rewards import transform_rewards
from qc_core.recipes.config import Config, DataConfig, RewardTransform

# The paper keeps data actions this far inside their bounds.
ACTION_MARGIN = 1e-5
_BLOCK_ROWS = 1 << 20


class OfflineData:
    """A data set on a device, or memory-mapped when it stays on the CPU.

    `actions` are scaled from the data set's bounds to [-1, 1] and kept a little inside;
    `rewards` and `terminals` are what `config` makes of them.
    """

    def __init__(self, dataset: Dataset, device: torch.device, config: DataConfig) -> None:
        def load(array: np.ndarray) -> Tensor:
            return _from_readonly(array).to(device)

        self._observations = load(dataset.observations)
        self._observation_index = load(dataset.observation_index)
        spec = dataset.spec
        self.action_bounds = ActionBounds(spec.action_low, spec.action_high, device)
        self.actions = self.action_bounds.normalize(load(dataset.actions))
        self.rewards = transform_rewards(load(dataset.rewards), config.reward_transform)
        self.masks = load(dataset.masks)
        self.terminals = load(dataset.terminals)
        if config.success_handling == "end":
            self.terminals = torch.maximum(self.terminals, 1 - self.masks)

        self.size = len(self.rewards)
        # On the device, for what is recorded there once and repeated.
        self._size = torch.tensor(self.size, dtype=torch.float64, device=device)

    def holding(self, other: OfflineData) -> OfflineData:
        """`other`'s transitions in this one's place, if there is room for them; else `other`."""
        columns = [*zip(self._columns(), other._columns(), strict=True)]
        if any(len(theirs) > len(ours) for ours, theirs in columns):
            return other
        for ours, theirs in columns:
            ours[: len(theirs)] = theirs
        self.size = other.size
        self._size.fill_(other.size)
        return self

    def _columns(self) -> list[Tensor]:
        columns = [self.actions, self.rewards, self.masks, self.terminals]
        return [self._observations, self._observation_index, *columns]

    def starts(self, uniform_B: Tensor, horizon: int) -> Tensor:
        return (uniform_B * (self._size - horizon + 1)).long()

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long()]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long() + 1]


class ActionBounds:
    """Between the environment's action units and [-1, 1]."""

    def __init__(self, low: Sequence[float], high: Sequence[float], device: torch.device) -> None:
        low_A, high_A = torch.tensor(low, device=device), torch.tensor(high, device=device)
        self._center_A = (high_A + low_A) / 2
        # An action that never varies has no scale.
        self._scale_A = torch.where(high_A > low_A, (high_A - low_A) / 2, 1.0)

    @property
    def size(self) -> int:
        """Numbers per action."""
        return len(self._center_A)

    def normalize(self, actions: Tensor) -> Tensor:
        """[..., A] in the environment's units → strictly inside (-1, 1)."""
        limit = 1 - ACTION_MARGIN
        return ((actions - self._center_A) / self._scale_A).clamp(-limit, limit)


class Replay:
    """A buffer that online transitions are added to, behind offline ones or without.

    Args:
        capacity: transitions it can hold.
        bounds: of the actions that are added.
        offline: transitions that it starts with.
        config: what it does when it is full, and with rewards.
    """

    def __init__(
        self,
        capacity: int,
        observation_size: int,
        bounds: ActionBounds,
        device: torch.device,
        config: Config,
        offline: OfflineData | None = None,
    ) -> None:
        self._bounds = bounds
        self._transform: RewardTransform = config.data.reward_transform
        self._marks_seam = config.train.replay_overwrites == "online"
        self._seam: int | None = None
        self._wrapped = False
        action_size = bounds.size

        def room(*width: int) -> Tensor:
            return torch.zeros(capacity, *width, device=device)

        self._observations = room(observation_size)
        self._next_observations = room(observation_size)
        self.actions = room(action_size)
        self.rewards, self.masks, self.terminals = room(), room(), room()
        self._capacity, self._row = capacity, 0
        # On the device, for what is recorded there once and repeated while transitions come.
        self._size = torch.zeros((), dtype=torch.float64, device=device)
        self.size = 0
        if offline is not None:
            size = offline.size
            for start in range(0, size, _BLOCK_ROWS):
                index = torch.arange(start, min(start + _BLOCK_ROWS, size), device=device)
                self._observations[index] = offline.observations_at(index)
                self._next_observations[index] = offline.next_observations_at(index)
            self.actions[:size] = offline.actions
            self.rewards[:size] = offline.rewards
            self.masks[:size] = offline.masks
            self.terminals[:size] = offline.terminals
            self.size = self._row = size
        self._initial = self.size
        # The first row that is written when the buffer is full.
        self._kept = self.size if self._marks_seam else 0

    @property
    def size(self) -> int:
        """Transitions that it holds."""
        return self._host_size

    @size.setter
    def size(self, size: int) -> None:
        self._host_size = size
        self._size.fill_(size)

    def starts(self, uniform_B: Tensor, horizon: int) -> Tensor:
        return (uniform_B * (self._size - horizon + 1)).long()

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
        """Append one transition, or overwrite one when the buffer is full.

        Args:
            action: in the environment's units.
            terminated: the task is over here; its value needs no bootstrap.
            ended: the episode's last transition, by success or by time.
        """
        if self._seam is not None:
            self.terminals[self._seam] = 0.0
            self._seam = None
        wraps = self._row == self._capacity
        self._wrapped |= wraps
        row = self._kept if wraps else self._row
        self._observations[row] = torch.as_tensor(observation)
        self._next_observations[row] = torch.as_tensor(next_observation)
        device = self.actions.device
        self.actions[row] = self._bounds.normalize(torch.as_tensor(action, device=device))
        self.rewards[row] = transform_rewards(torch.tensor(reward), self._transform)
        self.masks[row] = 0.0 if terminated else 1.0
        self.terminals[row] = 1.0 if ended else 0.0
        self._row = row + 1
        self.size = max(self.size, self._row)
        if self._marks_seam and self._wrapped and not ended:
            # Behind it lies a row of another episode until the next one is written.
            self.terminals[row] = 1.0
            self._seam = row

    def end_episode(self) -> None:
        """Nothing follows the last transition: its episode was broken off."""
        if self._row > 0:
            self.terminals[self._row - 1] = 1.0
            self._seam = None

    def state(self) -> dict[str, Tensor]:
        """What was added so far, for `restore`."""
        start = 0 if self._wrapped else self._initial
        place = torch.tensor([start, self._row, self.size, self._wrapped])
        rows = {name: values[start : self.size] for name, values in self._columns().items()}
        return {"place": place, **rows}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state` of a buffer that was made with the same arguments."""
        start, self._row, self.size, wrapped = state["place"].tolist()
        self._wrapped = bool(wrapped)
        for name, values in self._columns().items():
            values[start : self.size] = state[name].to(values.device)

    def _columns(self) -> dict[str, Tensor]:
        return {
            "observations": self._observations,
            "next_observations": self._next_observations,
            "actions": self.actions,
            "rewards": self.rewards,
            "masks": self.masks,
            "terminals": self.terminals,
        }

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[index]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._next_observations[index]


def _from_readonly(array: np.ndarray) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        # The tensor is only ever read; torch warns that it could be written.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)

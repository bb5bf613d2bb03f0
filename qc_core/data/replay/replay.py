"""Transitions as tensors: the offline dataset and the online replay buffer.

Shapes: N transitions, O observation, A action.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from qc_core.config.settings import Config, DataConfig, RewardTransform
from qc_core.data.dataset.dataset import Dataset
from qc_core.data.replay.rewards import transform_rewards

# Distance of data actions from their bounds, as in the paper.
ACTION_MARGIN = 1e-5
_LIMIT = 1 - ACTION_MARGIN
_BLOCK_ROWS = 1 << 20


class OfflineData:
    """A dataset on a device; on the CPU its observations stay memory-mapped.

    `actions` are scaled from the dataset's bounds to the inside of (-1, 1). `rewards` and
    `terminals` are transformed as `config` requests.
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
        # On the device, because recorded CUDA graphs read it.
        self._size = torch.tensor(self.size, dtype=torch.float64, device=device)

    def load_from(self, other: OfflineData) -> OfflineData:
        """Copy the transitions of `other` into these tensors if they fit.

        Returns:
            This object, or `other` if its transitions do not fit.
        """
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

    def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
        return (uniform_B * (self._size - backup_steps + 1)).long()

    def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
        return start_B[:, None] + torch.arange(backup_steps, device=start_B.device)

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long()]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._observations[self._observation_index[index].long() + 1]


class ActionBounds:
    """Scales actions from the environment's units to [-1, 1]."""

    def __init__(self, low: Sequence[float], high: Sequence[float], device: torch.device) -> None:
        low_A, high_A = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self._host_center_A = (high_A + low_A) / 2
        # The scale of a constant action is 1.
        self._host_scale_A = np.where(high_A > low_A, (high_A - low_A) / 2, np.float32(1))
        self._center_A = torch.from_numpy(self._host_center_A).to(device)
        self._scale_A = torch.from_numpy(self._host_scale_A).to(device)

    @property
    def size(self) -> int:
        """Return the numbers per action."""
        return len(self._host_center_A)

    def normalize(self, actions: Tensor) -> Tensor:
        """Scale actions [..., A] from the environment's units to strictly inside (-1, 1)."""
        return ((actions - self._center_A) / self._scale_A).clamp(-_LIMIT, _LIMIT)

    def normalize_one(self, action_A: np.ndarray) -> np.ndarray:
        """Scale one action on the host, bit-identical to `normalize`."""
        scaled_A = (action_A.astype(np.float32) - self._host_center_A) / self._host_scale_A
        return np.clip(scaled_A, -_LIMIT, _LIMIT, dtype=np.float32)


class Replay:
    """A replay buffer of online transitions, which may start with offline transitions.

    Several environments add their transitions in turn, so the next transition of an episode is
    `num_envs` rows later.

    Args:
        capacity: maximum number of transitions.
        bounds: of the actions that are added.
        config: number of environments, what to overwrite when full, and the reward transform.
        offline: transitions to start with.
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
        self._marks_boundaries = config.train.replay_overwrites == "online"
        self._environments = config.train.num_envs
        # By environment, oldest first: a row that is marked as an episode's end until the next
        # transition of its environment is added.
        self._episode_boundaries: deque[int | None] = deque([None] * self._environments)
        self._wraps = 0
        # All numbers of a transition are in one row, so that one copy writes them.
        widths = (observation_size, observation_size, bounds.size, 1, 1, 1)
        self._rows = torch.zeros(capacity, sum(widths), device=device)
        self._observations, self._next_observations, self.actions, *columns = self._rows.split(
            widths, dim=1
        )
        self.rewards, self.masks, self.terminals = (column[:, 0] for column in columns)
        self._capacity, self._row = capacity, 0
        # On the device, because recorded CUDA graphs read it while transitions are added.
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
        # The row that is overwritten first when the buffer is full.
        self._overwrite_from = self.size if self._marks_boundaries else 0
        # First row of the offline transitions; on the device, where windows are sampled.
        self._offline_from = torch.zeros((), dtype=torch.int64, device=device)

    def window_count(self, backup_steps: int) -> int:
        """Return the number of windows; zero or negative if there are none."""
        return self.size - (backup_steps - 1) * self._environments

    def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
        return (uniform_B * (self._size - (backup_steps - 1) * self._environments)).long()

    def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
        steps_H = torch.arange(backup_steps, device=start_B.device)
        if self._environments == 1:
            return start_B[:, None] + steps_H
        is_offline_B = (start_B >= self._offline_from) & (start_B < self._initial)
        return (
            start_B[:, None] + torch.where(is_offline_B, 1, self._environments)[:, None] * steps_H
        )

    @property
    def size(self) -> int:
        """Return the number of transitions in the buffer."""
        return self._host_size

    @size.setter
    def size(self, size: int) -> None:
        self._host_size = size
        self._size.fill_(size)

    def add(
        self,
        observation: np.ndarray,
        action: np.ndarray,
        reward: float,
        next_observation: np.ndarray,
        terminated: bool,
        ended: bool,
    ) -> None:
        """Append one transition, or overwrite one if the buffer is full.

        Args:
            action: in the environment's units.
            terminated: whether the task ended; there is no bootstrap then.
            ended: whether the episode ended, by success or by time.
        """
        previous = self._episode_boundaries.popleft()
        if previous is not None:
            self.terminals[previous] = 0.0
        if self._row == self._capacity:
            self._row = self._overwrite_from
            self._wraps += 1
        row = self._row
        # The next row is of another episode until the next transition overwrites it.
        is_boundary = self._marks_boundaries and self._wraps > 0 and not ended
        self._episode_boundaries.append(row if is_boundary else None)
        self._rows[row].copy_(
            self._packed(
                observation,
                next_observation,
                action,
                reward,
                0.0 if terminated else 1.0,
                1.0 if ended or is_boundary else 0.0,
            ),
            non_blocking=True,
        )
        self._row = row + 1
        self.size = max(self.size, self._row)
        if self._wraps == 1 and self._row <= self._initial:
            self._update_offline_start()

    def _packed(
        self,
        observation: np.ndarray,
        next_observation: np.ndarray,
        action: np.ndarray,
        reward: float,
        mask: float,
        terminal: float,
    ) -> Tensor:
        """Return a row in the order of the columns, built on the host, which is faster."""
        size = len(observation)
        row = np.empty(self._rows.shape[1], np.float32)
        row[:size], row[size : 2 * size] = observation, next_observation
        row[2 * size : -3] = self._bounds.normalize_one(action)
        row[-3:] = reward, mask, terminal
        packed = torch.from_numpy(row)
        if self._transform != "none":
            packed[-3] = transform_rewards(packed[-3], self._transform)
        return packed

    def _update_offline_start(self) -> None:
        """If offline rows are being overwritten, move their start after the new rows."""
        if self._wraps and self._overwrite_from < self._initial:
            self._offline_from.fill_(
                min(self._row, self._initial) if self._wraps == 1 else self._initial
            )

    def end_episode(self) -> None:
        """Mark the last transition of the environment whose turn is next as its episode's end."""
        rows = self._newest_rows()
        if len(rows) == self._environments:
            self.terminals[rows[-1]] = 1.0
        self._episode_boundaries[0] = None

    def end_episodes(self) -> None:
        """Mark the last transition of each environment as the end of an interrupted episode."""
        for row in self._newest_rows():
            self.terminals[row] = 1.0
        self._episode_boundaries = deque([None] * self._environments)

    def _newest_rows(self) -> list[int]:
        """Return the row of each environment's last online transition, newest first."""
        rows: list[int] = []
        row, first = self._row, self._overwrite_from if self._wraps else self._initial
        for _ in range(self._environments):
            if row == first and self._wraps:
                row = self._capacity
            if row > first:
                row -= 1
                rows.append(row)
        return rows

    def state(self) -> dict[str, Tensor]:
        """Return the added transitions, for `restore`."""
        start = 0 if self._wraps else self._initial
        position = torch.tensor([start, self._row, self.size, self._wraps])
        rows = {name: values[start : self.size] for name, values in self._columns().items()}
        return {"place": position, **rows}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the `state` of a buffer that was made with the same arguments."""
        start, self._row, self.size, self._wraps = state["place"].tolist()
        for name, values in self._columns().items():
            values[start : self.size] = state[name].to(values.device)
        self._update_offline_start()

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
        # torch warns that writing to the tensor is undefined; this module only reads it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)

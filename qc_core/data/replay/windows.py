"""Windows of consecutive transitions for backups over several steps.

Shapes: B batch, H backup steps, N transitions, O observation, A action.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from qc_core.config.settings import Config, TerminalHandling


class Transitions(Protocol):
    """Transitions of one environment or of several, in chronological order.

    `actions` [N, A], `rewards` [N], `masks` [N] (0: task ended, no bootstrap) and `terminals` [N]
    (1: last transition of its episode) may have more rows than there are transitions.
    """

    actions: Tensor
    rewards: Tensor
    masks: Tensor
    terminals: Tensor

    def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
        """Map float64 in [0, 1) to starts of windows, int64 [B]; all starts are equally likely.

        The number of transitions is read on the device, so that a recorded CUDA graph samples from
        all transitions that exist when it is replayed.
        """
        ...

    def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
        """Return the rows of the windows that start at these transitions, int64 [B, H]."""
        ...

    def observations_at(self, index: Tensor) -> Tensor:
        """Return the observations at the start of transitions: [...] → [..., O]."""
        ...

    def next_observations_at(self, index: Tensor) -> Tensor:
        """Return the observations at the end of transitions: [...] → [..., O]."""
        ...


class Windows(NamedTuple):
    """A batch of windows.

    Attributes:
        observations_BO: at the first step.
        actions_BHA: stored actions, including those after the end of an episode.
        returns_B: sum over the window of discount^j · reward.
        bootstrap_B: factor of the next observation's value: discount^H, or 0 if any step of the
            window ended the task.
        next_observations_BO: after the last step, including after the end of an episode.
        valid_BH: 1 up to and including the step that ends the episode, then 0.
        weight_B: 1 if the critic learns from the window, else 0.
    """

    observations_BO: Tensor
    actions_BHA: Tensor
    returns_B: Tensor
    bootstrap_B: Tensor
    next_observations_BO: Tensor
    valid_BH: Tensor
    weight_B: Tensor


def gather_windows(
    transitions: Transitions,
    start_B: Tensor,
    *,
    backup_steps: int,
    discount: float,
    terminal_handling: TerminalHandling = "drop",
) -> Windows:
    """Gather the windows that start at the given transitions; windows may cross episodes.

    Args:
        start_B: int64 [B], from `Transitions.sample_starts`.
        terminal_handling: how to treat a window whose episode ends before the last step. "drop"
            (paper): the critic does not learn from it. "keep": the window ends with the episode,
            and the critic learns from it.
    """
    steps_H = torch.arange(backup_steps, device=start_B.device)
    index_BH = transitions.window_indices(start_B, backup_steps)
    ended_BH = transitions.terminals[index_BH].cummax(dim=1).values
    valid_BH = torch.cat([torch.ones_like(ended_BH[:, :1]), 1 - ended_BH[:, :-1]], dim=1)
    dtype = transitions.rewards.dtype
    rewards_BH = transitions.rewards[index_BH] * discount ** steps_H.to(dtype)
    masks_BH = transitions.masks[index_BH]
    if terminal_handling == "keep":
        rewards_BH = rewards_BH * valid_BH
        masks_BH = torch.where(valid_BH > 0, masks_BH, 1)
        length_B = valid_BH.sum(dim=1)
        last_B = index_BH.gather(1, length_B.long()[:, None] - 1)[:, 0]
        weight_B = torch.ones_like(length_B)
    else:
        length_B = torch.full_like(valid_BH[:, 0], backup_steps)
        last_B = index_BH[:, -1]
        weight_B = valid_BH[:, -1]
    return Windows(
        observations_BO=transitions.observations_at(start_B),
        actions_BHA=transitions.actions[index_BH],
        returns_B=rewards_BH.sum(dim=1),
        bootstrap_B=masks_BH.amin(dim=1) * discount**length_B,
        next_observations_BO=transitions.next_observations_at(last_B),
        valid_BH=valid_BH,
        weight_B=weight_B,
    )


def concatenate(*batches: Windows) -> Windows:
    """Concatenate batches of windows."""
    return Windows(*(torch.cat(columns) for columns in zip(*batches, strict=True)))


def sample_windows(
    transitions: Transitions,
    config: Config,
    generator: torch.Generator,
    batch_size: int | None = None,
) -> Windows:
    """Sample windows with uniform starts; windows may cross episode boundaries.

    Args:
        batch_size: overrides the batch size of the configuration.
    """
    uniform_B = torch.rand(
        batch_size or config.train.batch_size,
        generator=generator,
        device=generator.device,
        dtype=torch.float64,
    )
    return gather_windows(
        transitions,
        transitions.sample_starts(uniform_B, config.train.backup_steps),
        backup_steps=config.train.backup_steps,
        discount=config.train.discount,
        terminal_handling=config.data.terminal_handling,
    )

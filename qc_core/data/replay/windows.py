"""Windows of H steps: what a chunked backup needs of consecutive transitions.

Shapes: B batch, H horizon, N transitions, O observation, A action.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from qc_core.config.settings import Config, TerminalHandling


class Transitions(Protocol):
    """Transitions in the order in which they happened, of one environment or of several.

    `actions` [N, A], `rewards` [N], `masks` [N] (0: solved, no bootstrap) and `terminals` [N]
    (1: the last transition of its episode) may hold more rows than there are transitions.
    """

    actions: Tensor
    rewards: Tensor
    masks: Tensor
    terminals: Tensor

    def starts(self, uniform_B: Tensor, horizon: int) -> Tensor:
        """int64 [B] from float64 in [0, 1): every start of a window of `horizon` is as likely.

        No number leaves the device, so that a recorded update sees the transitions of its day.
        """
        ...

    def follow(self, start_B: Tensor, horizon: int) -> Tensor:
        """The rows [B, H] of the windows that start at these: themselves and what follows them."""
        ...

    def observations_at(self, index: Tensor) -> Tensor:
        """[...] → [..., O]: where these transitions start."""
        ...

    def next_observations_at(self, index: Tensor) -> Tensor:
        """[...] → [..., O]: where these transitions end."""
        ...


class Windows(NamedTuple):
    """A batch of windows.

    Attributes:
        observations_BO: at the first step.
        actions_BHA: raw, also past the end of an episode.
        returns_B: sum over the window of discount^j · reward.
        bootstrap_B: what the value of the next observation counts: discount^H, or 0 if any
            step of the window solved the task.
        next_observations_BO: behind the last step, raw, also past the end of an episode.
        valid_BH: 1 up to and including the step that ends the episode, 0 behind it.
        weight_B: 1 where the critic learns from the window, else 0.
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
    horizon: int,
    discount: float,
    terminal_handling: TerminalHandling = "drop",
) -> Windows:
    """The windows that start at the given transitions, seams and all.

    Args:
        start_B: int64 [B], as `Transitions.starts` gives them.
        terminal_handling: what becomes of a window in which the episode ends before the last
            step. "drop", as in the paper: the critic does not learn from it. "keep": reward,
            mask and next observation stay as they are at the end, and it does.
    """
    steps_H = torch.arange(horizon, device=start_B.device)
    index_BH = transitions.follow(start_B, horizon)
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
        length_B = torch.full_like(valid_BH[:, 0], horizon)
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
    """One batch of all the windows."""
    return Windows(*(torch.cat(columns) for columns in zip(*batches, strict=True)))


def sample_windows(
    transitions: Transitions,
    config: Config,
    generator: torch.Generator,
    batch_size: int | None = None,
) -> Windows:
    """Windows from uniform starts, episode seams not filtered.

    Args:
        batch_size: instead of the config's.
    """
    uniform_B = torch.rand(
        batch_size or config.train.batch_size,
        generator=generator,
        device=generator.device,
        dtype=torch.float64,
    )
    return gather_windows(
        transitions,
        transitions.starts(uniform_B, config.train.backup_steps),
        horizon=config.train.backup_steps,
        discount=config.train.discount,
        terminal_handling=config.data.terminal_handling,
    )

"""Windows of H steps: what a chunked backup needs of consecutive transitions.

Shapes: B batch, H horizon, N transitions, O observation, A action.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Transitions(Protocol):
    """Transitions in the order in which they happened, episode after episode.

    `actions` [N, A], `rewards` [N], `masks` [N] (0: solved, no bootstrap) and `terminals` [N]
    (1: the last transition of its episode) may hold more than `size` rows; those beyond are
    not transitions.
    """

    actions: Tensor
    rewards: Tensor
    masks: Tensor
    terminals: Tensor

    @property
    def size(self) -> int: ...

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
        masks_B: 0 if any step of the window solved the task, else 1.
        next_observations_BO: behind the last step, raw, also past the end of an episode.
        valid_BH: 1 up to and including the step that ends the episode, 0 behind it.
    """

    observations_BO: Tensor
    actions_BHA: Tensor
    returns_B: Tensor
    masks_B: Tensor
    next_observations_BO: Tensor
    valid_BH: Tensor


def gather_windows(
    transitions: Transitions, start_B: Tensor, *, horizon: int, discount: float
) -> Windows:
    """The windows that start at the given transitions, seams and all.

    Args:
        start_B: int64 indices in [0, size - horizon].
    """
    steps_H = torch.arange(horizon, device=start_B.device)
    index_BH = start_B[:, None] + steps_H
    ended_BH = transitions.terminals[index_BH].cummax(dim=1).values
    valid_BH = torch.cat([torch.ones_like(ended_BH[:, :1]), 1 - ended_BH[:, :-1]], dim=1)
    discounts_H = discount ** steps_H.to(transitions.rewards.dtype)
    return Windows(
        observations_BO=transitions.observations_at(start_B),
        actions_BHA=transitions.actions[index_BH],
        returns_B=(transitions.rewards[index_BH] * discounts_H).sum(dim=1),
        masks_B=transitions.masks[index_BH].amin(dim=1),
        next_observations_BO=transitions.next_observations_at(index_BH[:, -1]),
        valid_BH=valid_BH,
    )


def sample_windows(
    transitions: Transitions,
    batch_size: int,
    *,
    horizon: int,
    discount: float,
    generator: torch.Generator,
) -> Windows:
    """Windows from starts uniform over [0, size - horizon], episode seams not filtered."""
    start_B = torch.randint(
        0,
        transitions.size - horizon + 1,
        (batch_size,),
        generator=generator,
        device=generator.device,
    )
    return gather_windows(transitions, start_B, horizon=horizon, discount=discount)

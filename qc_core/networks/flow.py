"""The flow policy: a velocity field over chunks, integrated by Euler steps.

Shapes: B batch, O observation, L flattened chunk (chunk length · action size).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from qc_core.networks.condition import condition
from qc_core.networks.mlp import MLP

# A velocity [B, ..., L] for chunks x [B, ..., L] at one flow time.
Velocity = Callable[[Tensor, float], Tensor]


class VelocityField(nn.Module):
    """v(s, x, t): the direction in which a noisy chunk x moves at flow time t."""

    def __init__(self, observation_size: int, chunk_size: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        self.mlp = MLP(observation_size + chunk_size + 1, hidden_dims, chunk_size)

    def forward(self, observation_BO: Tensor, x_BL: Tensor, time_B1: Tensor) -> Tensor:
        """[B, O], [B, L], [B, 1] → [B, L]."""
        return self.mlp(torch.cat([observation_BO, x_BL, time_B1], dim=-1))

    def condition(self, observation_BO: Tensor) -> Velocity:
        """Return the field at these observations, for any number of chunks and times."""
        (layers,) = self.mlp.layers()
        return condition(layers, observation_BO)


def integrate(velocity: Velocity, noise: Tensor, flow_steps: int) -> Tensor:
    """Chunks in [-1, 1] from noise [B, ..., L]: x ← x + v(x, i/T)/T for i < T, then clipped."""
    x = noise
    for i in range(flow_steps):
        x = torch.add(x, velocity(x, i / flow_steps), alpha=1 / flow_steps)
    return x.clamp(-1, 1)

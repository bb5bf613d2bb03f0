"""The flow policy: a velocity field over chunks, integrated by Euler steps.

Shapes: B batch, O observation, L flattened chunk (horizon · action size).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qc_core.networks.mlp import MLP


class VelocityField(nn.Module):
    """v(s, x, t): where a noisy chunk x should move at flow time t."""

    def __init__(self, observation_size: int, chunk_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp = MLP(observation_size + chunk_size + 1, widths, chunk_size)

    def forward(self, observation_BO: Tensor, x_BL: Tensor, time_B1: Tensor) -> Tensor:
        return self.mlp(torch.cat([observation_BO, x_BL, time_B1], dim=-1))


def integrate(
    field: VelocityField, observation_BO: Tensor, noise_BL: Tensor, flow_steps: int
) -> Tensor:
    """Chunks [B, L] in [-1, 1] from noise: x ← x + v(s, x, i/T)/T for i < T, then clipped."""
    x_BL = noise_BL
    for i in range(flow_steps):
        time_B1 = torch.full_like(x_BL[..., :1], i / flow_steps)
        x_BL = x_BL + field(observation_BO, x_BL, time_B1) / flow_steps
    return x_BL.clamp(-1, 1)

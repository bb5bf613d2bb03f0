"""The network that is exported: raw observation and noise in, clipped chunk out.

Shapes: B batch, O observation, H horizon, A action, L = H·A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qc_core.agents.qc_fql import QCFQL


class OneStepChunk(nn.Module):
    """The one-step policy with its normalisation and clipping inside."""

    observation_mean: Tensor
    observation_scale: Tensor

    def __init__(self, agent: QCFQL) -> None:
        super().__init__()
        self.one_step = agent.one_step
        self.horizon = agent.config.horizon
        self.action_size = agent.action_size
        self.register_buffer("observation_mean", agent.observation_mean)
        self.register_buffer("observation_scale", 1 / agent.observation_std)

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """[B, O], [B, L] → [B, H, A]."""
        normalized = (observation - self.observation_mean) * self.observation_scale
        chunk_BL = self.one_step(torch.cat([normalized, noise], dim=-1)).clamp(-1, 1)
        return chunk_BL.reshape(-1, self.horizon, self.action_size)

"""The exported network: maps raw observations and noise to clipped chunks.

Shapes: B batch, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

from torch import Tensor, nn

from qc_core.agents.agent import Agent


class ExportableChunk(nn.Module):
    """An agent's learned policy, including normalisation and clipping."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent.requires_grad_(False)

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """[B, O], [B, *noise_shape] → [B, H, A]."""
        return self.agent.chunk(observation, noise)

"""QC, BFN, BFN-n: of N chunks that the flow proposes, the one that the critics like best.

Shapes: B batch, N candidates, O observation, L flattened chunk.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Info, UpdateNoise
from qc_core.agents.flow_agent import FlowAgent, FlowNoise
from qc_core.config.methods import BestOfNSettings
from qc_core.data.replay.windows import Windows
from qc_core.networks import kernels as arithmetic
from qc_core.networks.flow import integrate


class BestOfNAgent(FlowAgent):
    """The policy is the argmax of the online critics' mean over N samples of the flow."""

    settings: BestOfNSettings

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.settings.num_samples, self.chunk_size)

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Chunks [B, L]; of equal candidates the first."""
        propose = self._proposals()

        def best(observation_BO: Tensor, noise_BNL: Tensor) -> Tensor:
            chunk_BNL, value_BN = propose(observation_BO, noise_BNL)
            index_B11 = value_BN.argmax(dim=1)[:, None, None]
            index_B1L = index_B11.expand(-1, 1, self.chunk_size)
            return chunk_BNL.gather(1, index_B1L).squeeze(1)

        rows = arithmetic.current().rows
        if rows is None or torch.is_grad_enabled():
            return best(observation_BO, noise)
        # All candidates of an observation are in the same part.
        size = max(1, rows // self.settings.num_samples)
        parts = zip(observation_BO.split(size), noise.split(size), strict=True)
        return torch.cat([best(*part) for part in parts])

    def candidates(self, observation_BO: Tensor, noise_BNL: Tensor) -> tuple[Tensor, Tensor]:
        """What `choose` chooses from: chunks [B, N, L], and what the critics think of each [B, N].

        Observations are in raw units; the chunks are in [-1, 1].
        """
        return self._proposals()(self._normalize(observation_BO), noise_BNL)

    def _proposals(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """`candidates` of normalised observations, for several parts of a batch."""
        flow, critics = self.flow.mlp.layers(), self.critic.ensemble()

        def propose(observation_BO: Tensor, noise_BNL: Tensor) -> tuple[Tensor, Tensor]:
            chunk_BNL = integrate(flow.given(observation_BO), noise_BNL, self.settings.flow_steps)
            values = [critic.given(observation_BO)(chunk_BNL) for critic in critics]
            return chunk_BNL, torch.stack(values).mean(dim=0).squeeze(-1)

        return propose

    def actor_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """Cloning only: values choose among candidates, they do not shape them."""
        assert isinstance(noise, FlowNoise)
        loss = self.cloning_loss(windows, noise)
        return loss, {"loss": loss, "cloning_loss": loss}

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> FlowNoise:
        device = generator.device
        return FlowNoise(
            target=torch.randn((batch_size, *self.noise_shape), generator=generator, device=device),
            flow_x0_BL=torch.randn(
                (batch_size, self.chunk_size), generator=generator, device=device
            ),
            flow_time_B1=torch.rand((batch_size, 1), generator=generator, device=device),
        )

    def policy_parameters(self) -> list[nn.Parameter]:
        return [*self.flow.parameters()]

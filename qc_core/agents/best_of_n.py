"""QC, BFN and BFN-n: the flow samples N chunks, and the critics choose the best.

Shapes: B batch, N samples, O observation, L flattened chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from qc_core.agents.agent import LossFunction
from qc_core.agents.flow_agent import FlowAgent, FlowNoise
from qc_core.config.methods import BestOfNSettings
from qc_core.data.replay.windows import Windows
from qc_core.networks.condition import condition
from qc_core.networks.flow import integrate
from qc_core.networks.kernels import in_parts


class BestOfNAgent(FlowAgent[BestOfNSettings, FlowNoise]):
    """π(s) = argmax over N samples a_n of the flow of mean_K Q_k(s, a_n), with online critics."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.settings.num_samples, self.chunk_size)

    @property
    def policy_flow_steps(self) -> int:
        return self.settings.flow_steps

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Return the best sample [B, L]; of equal samples, the first."""
        sample = self._sampler()

        def best(observation_BO: Tensor, noise_BNL: Tensor) -> Tensor:
            chunk_BNL, value_BN = sample(observation_BO, noise_BNL)
            index_B11 = value_BN.argmax(dim=1)[:, None, None]
            index_B1L = index_B11.expand(-1, 1, self.chunk_size)
            return chunk_BNL.gather(1, index_B1L).squeeze(1)

        return in_parts(best, observation_BO, noise, rows_each=self.settings.num_samples)

    def samples(self, observation_BO: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self._sampler()(self.normalize(observation_BO), noise)

    def _sampler(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return `samples` for normalised observations, with the networks' weights prepared."""
        (flow,), critics = self.flow.mlp.layers(), self.critic.layers()

        def sample(observation_BO: Tensor, noise_BNL: Tensor) -> tuple[Tensor, Tensor]:
            velocity = condition(flow, observation_BO)
            chunk_BNL = integrate(velocity, noise_BNL, self.settings.flow_steps)
            values = [condition(critic, observation_BO)(chunk_BNL) for critic in critics]
            return chunk_BNL, self.critic.join(values).mean(dim=0).squeeze(-1)

        return sample

    def losses(self, windows: Windows, noise: FlowNoise) -> list[LossFunction]:
        """The critics choose samples, they do not train the flow."""
        return [
            partial(self.critic_loss, windows, noise.target),
            partial(self.flow_loss, windows, noise),
        ]

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> FlowNoise:
        shape, device = (batch_size, self.chunk_size), generator.device
        target_shape = (batch_size, *self.noise_shape)
        return FlowNoise(
            target=torch.randn(target_shape, generator=generator, device=device),
            flow_x0_BL=torch.randn(shape, generator=generator, device=device),
            flow_time_B1=torch.rand((batch_size, 1), generator=generator, device=device),
        )

    def policy_parameters(self) -> list[nn.Parameter]:
        return [*self.flow.parameters()]

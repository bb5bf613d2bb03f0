"""QC-FQL, FQL, FQL-n: a one-step policy distilled from the flow climbs the critics.

Shapes: B batch, O observation, L flattened chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Info, UpdateNoise
from qc_core.agents.flow_agent import FlowAgent, FlowNoise
from qc_core.agents.losses import distillation_loss, policy_value_loss
from qc_core.config.methods import OneStepSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.flow import integrate
from qc_core.networks.mlp import MLP


@dataclass(frozen=True, slots=True)
class OneStepNoise(FlowNoise):
    """The noise of one update, that of the distillation among it."""

    distillation_BL: Tensor


class OneStepAgent(FlowAgent):
    """The policy is μ(s, z), one pass through one network."""

    settings: OneStepSettings

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(observation_size, action_size, config)
        self.one_step = MLP(observation_size + self.chunk_size, config.hidden_dims, self.chunk_size)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.chunk_size,)

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        return self._mu(observation_BO, noise).clamp(-1, 1)

    def actor_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """Clone with the flow, distil it into one step, and climb the critics."""
        assert isinstance(noise, OneStepNoise)
        observation_BO = windows.observations_BO
        cloning = self.cloning_loss(windows, noise)
        with torch.no_grad():
            flow_BL = integrate(
                self.flow.given(observation_BO), noise.distillation_BL, self.settings.flow_steps
            )
        one_step_BL = self._mu(observation_BO, noise.distillation_BL)
        distillation = distillation_loss(one_step_BL, flow_BL)
        value = policy_value_loss(
            self.values(self.critic, observation_BO, one_step_BL.clamp(-1, 1))
        )
        loss = cloning + self.settings.alpha * distillation + value
        return loss, {
            "loss": loss,
            "cloning_loss": cloning,
            "distillation_loss": distillation,
            "value_loss": value,
        }

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> OneStepNoise:
        shape, device = (batch_size, self.chunk_size), generator.device
        return OneStepNoise(
            target=torch.randn(shape, generator=generator, device=device),
            flow_x0_BL=torch.randn(shape, generator=generator, device=device),
            flow_time_B1=torch.rand((batch_size, 1), generator=generator, device=device),
            distillation_BL=torch.randn(shape, generator=generator, device=device),
        )

    def policy_parameters(self) -> list[nn.Parameter]:
        return [*self.flow.parameters(), *self.one_step.parameters()]

    def _mu(self, observation_BO: Tensor, noise_BL: Tensor) -> Tensor:
        return self.one_step(torch.cat([observation_BO, noise_BL], dim=-1))

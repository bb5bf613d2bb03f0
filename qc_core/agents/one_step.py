"""QC-FQL, FQL and FQL-n: a one-step policy, distilled from the flow, maximises the critics' Q.

Shapes: B batch, O observation, L = chunk length · action size. `clip` is to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Loss
from qc_core.agents.flow_agent import FlowAgent, FlowNoise
from qc_core.agents.losses import distillation_loss, policy_value_loss
from qc_core.config.methods import OneStepSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.flow import integrate
from qc_core.networks.mlp import MLP


@dataclass(frozen=True, slots=True)
class OneStepNoise(FlowNoise):
    """The random numbers of one update.

    Attributes:
        distillation_BL: standard normal, the input z of both the one-step policy and the flow.
    """

    distillation_BL: Tensor


class OneStepAgent(FlowAgent[OneStepSettings, OneStepNoise]):
    """π(s) = clip μ(s, z), one pass through one network."""

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(observation_size, action_size, config)
        self.one_step = MLP(observation_size + self.chunk_size, config.hidden_dims, self.chunk_size)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """[L]."""
        return (self.chunk_size,)

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Return clip μ(s, z), [B, L], for noise [B, L]."""
        return self._mu(observation_BO, noise).clamp(-1, 1)

    def losses(self, windows: Windows, noise: OneStepNoise) -> dict[str, Loss]:
        return {
            "critic": self.critic_loss(windows, noise.target),
            "actor": self.actor_loss(windows, noise),
        }

    def actor_loss(self, windows: Windows, noise: OneStepNoise) -> Loss:
        """bc_loss + alpha · distillation - mean Q(s, clip μ(s, z)); the critics are not trained.

        The distillation compares the unclipped μ with the clipped flow, as in the paper.
        """
        observation_BO = windows.observations_BO
        bc = self.bc_loss(windows, noise)
        with torch.no_grad():
            velocity = self.flow.condition(observation_BO)
            flow_BL = integrate(velocity, noise.distillation_BL, self.settings.flow_steps)
        one_step_BL = self._mu(observation_BO, noise.distillation_BL)
        distillation = distillation_loss(one_step_BL, flow_BL)
        value = policy_value_loss(
            self.values(self.critic, observation_BO, one_step_BL.clamp(-1, 1))
        )
        loss = bc + self.settings.alpha * distillation + value
        figures = {"bc_loss": bc, "distillation_loss": distillation, "value_loss": value}
        return Loss(loss, self.policy_parameters(), figures)

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

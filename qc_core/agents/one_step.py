"""QC-FQL, FQL and FQL-n: a one-step policy, distilled from the flow, maximises the critics' Q.

Shapes: B batch, O observation, L = chunk length · action size. `clip` is to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Loss, LossFunction
from qc_core.agents.flow_agent import FlowAgent, FlowNoise
from qc_core.agents.losses import distillation_loss, policy_value_loss
from qc_core.config.methods import OneStepSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.flow import integrate
from qc_core.networks.mlp import MLP
from qc_core.networks.side_by_side import side_by_side


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

    def losses(self, windows: Windows, noise: OneStepNoise) -> list[LossFunction]:
        """The actor loss is bc_loss + alpha · distillation - mean Q: two parts."""
        return [
            partial(self.critic_loss, windows, noise.target),
            partial(self.flow_loss, windows, noise),
            partial(self.one_step_loss, windows, noise),
        ]

    def one_step_loss(self, windows: Windows, noise: OneStepNoise) -> Loss:
        """alpha · distillation - mean Q(s, clip μ(s, z)); the critics are not trained.

        The distillation compares the unclipped μ with the clipped flow, as in the paper.
        """
        observation_BO = windows.observations_BO

        def policy() -> tuple[Tensor, ...]:
            one_step_BL = self._mu(observation_BO, noise.distillation_BL)
            chunk_BL = one_step_BL.detach().requires_grad_()
            values_KB = self.values(self.critic, observation_BO, chunk_BL.clamp(-1, 1))
            value = policy_value_loss(values_KB)
            # The critics' part of the gradient does not wait for the flow: the backward pass of the
            # loss adds it here, and the loss must not be scaled.
            (slope_BL,) = torch.autograd.grad(value, chunk_BL)
            one_step_BL.register_hook(lambda gradient_BL: gradient_BL + slope_BL)
            return one_step_BL, value.detach()

        @torch.no_grad()
        def flow() -> tuple[Tensor, ...]:
            velocity = self.flow.condition(observation_BO)
            return (integrate(velocity, noise.distillation_BL, self.settings.flow_steps),)

        (one_step_BL, value), (flow_BL,) = side_by_side(
            [policy, flow], observation_BO.device, streams=self.kernels.streams
        )
        distillation = distillation_loss(one_step_BL, flow_BL)
        loss = self.settings.alpha * distillation + value
        figures = {"distillation_loss": distillation, "value_loss": value}
        return Loss("actor", loss, [*self.one_step.parameters()], figures)

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

"""QC-FQL: Q-learning on chunks with a one-step policy distilled from a flow.

Shapes: B batch, K critics, O observation, H horizon, A action, L = H·A.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from qc_core.agents.losses import (
    chunk_target,
    critic_loss,
    distillation_loss,
    flow_matching_loss,
    flow_point,
    policy_value_loss,
)
from qc_core.data.windows import Windows
from qc_core.networks.flow import VelocityField, integrate
from qc_core.networks.mlp import MLP
from qc_core.recipes.config import TrainConfig

Info = dict[str, Tensor]


class UpdateNoise(NamedTuple):
    """Everything random in one update, standard normal but for the uniform flow time."""

    target_BL: Tensor
    flow_x0_BL: Tensor
    flow_time_B1: Tensor
    distillation_BL: Tensor


class QCFQL(nn.Module):
    """The agent: networks, losses and one update.

    `chunk` and `update` take observations in raw units; normalisation, if any, is the agent's
    own and travels with its weights. The losses take windows that are normalised already.
    """

    observation_mean: Tensor
    observation_std: Tensor

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.observation_size, self.action_size = observation_size, action_size
        chunk_size = config.horizon * action_size
        inputs = observation_size + chunk_size
        self.flow = VelocityField(observation_size, chunk_size, config.widths)
        self.one_step = MLP(inputs, config.widths, chunk_size)
        self.critic = MLP(inputs, config.widths, 1, layer_norm=True, members=config.critics)
        self.target_critic = MLP(inputs, config.widths, 1, layer_norm=True, members=config.critics)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))
        self.optimizer = torch.optim.Adam(
            self._trained(), lr=config.learning_rate, eps=1e-8, fused=True
        )

    # What the policy does

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.config.horizon * self.action_size,)

    def chunk(self, observation_BO: Tensor, noise_BL: Tensor) -> Tensor:
        """The learned policy: [B, O], [B, L] → [B, H, A] in [-1, 1]."""
        return self._as_chunk(self._policy(self._normalize(observation_BO), noise_BL))

    def cloned_chunk(self, observation_BO: Tensor, noise_BL: Tensor) -> Tensor:
        """Behaviour cloning alone, the flow: [B, O], [B, L] → [B, H, A] in [-1, 1]."""
        observation_BO = self._normalize(observation_BO)
        return self._as_chunk(
            integrate(self.flow, observation_BO, noise_BL, self.config.flow_steps)
        )

    # How it learns

    def critic_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """The chunked critic's regression on its H-step target."""
        actions_BL = windows.actions_BHA.flatten(1)
        with torch.no_grad():
            next_actions_BL = self._policy(windows.next_observations_BO, noise.target_BL)
            next_values_KB = _values(
                self.target_critic, windows.next_observations_BO, next_actions_BL
            )
            target_B = chunk_target(windows.returns_B, windows.bootstrap_B, next_values_KB)
        values_KB = _values(self.critic, windows.observations_BO, actions_BL)
        loss = critic_loss(values_KB, target_B, windows.weight_B)
        return loss, {"loss": loss, "value": values_KB.mean(), "target": target_B.mean()}

    def actor_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """Clone with the flow, distil it into one step, and climb the critic."""
        observation_BO = windows.observations_BO
        cloning = self.cloning_loss(windows, noise)

        with torch.no_grad():
            flow_BL = integrate(
                self.flow, observation_BO, noise.distillation_BL, self.config.flow_steps
            )
        one_step_BL = self.one_step(torch.cat([observation_BO, noise.distillation_BL], dim=-1))
        distillation = distillation_loss(one_step_BL, flow_BL)

        value = policy_value_loss(_values(self.critic, observation_BO, one_step_BL.clamp(-1, 1)))
        loss = cloning + self.config.distillation_weight * distillation + value
        return loss, {
            "loss": loss,
            "cloning_loss": cloning,
            "distillation_loss": distillation,
            "value_loss": value,
        }

    def cloning_loss(self, windows: Windows, noise: UpdateNoise) -> Tensor:
        """The flow's behaviour cloning, which no value reaches."""
        x1_BL = windows.actions_BHA.flatten(1)
        x_BL = flow_point(noise.flow_x0_BL, x1_BL, noise.flow_time_B1)
        velocity_BL = self.flow(windows.observations_BO, x_BL, noise.flow_time_B1)
        return flow_matching_loss(velocity_BL, noise.flow_x0_BL, x1_BL, windows.valid_BH)

    def update(self, windows: Windows, noise: UpdateNoise) -> Info:
        """One optimiser step on all networks, then the target critic's lagging average.

        Returns:
            Figures as tensors on the device, named `critic/…` and `actor/…`.
        """
        windows = self.normalize_windows(windows)
        loss_of_critic, critic_info = self.critic_loss(windows, noise)
        loss_of_actor, actor_info = self.actor_loss(windows, noise)
        self.optimizer.zero_grad(set_to_none=True)
        loss_of_critic.backward(inputs=[*self.critic.parameters()])
        # The actor's loss runs through the critic without moving it.
        loss_of_actor.backward(inputs=[*self.flow.parameters(), *self.one_step.parameters()])
        # The target follows the critic as it was before this step.
        with torch.no_grad():
            for target, online in zip(
                self.target_critic.parameters(), self.critic.parameters(), strict=True
            ):
                target.lerp_(online, self.config.target_rate)
        self.optimizer.step()
        info = {f"critic/{name}": value.detach() for name, value in critic_info.items()}
        return info | {f"actor/{name}": value.detach() for name, value in actor_info.items()}

    def normalize_windows(self, windows: Windows) -> Windows:
        """Windows as the losses want them."""
        return windows._replace(
            observations_BO=self._normalize(windows.observations_BO),
            next_observations_BO=self._normalize(windows.next_observations_BO),
        )

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> UpdateNoise:
        """Fresh noise for one update, on the generator's device."""
        shape = (batch_size, *self.noise_shape)
        device = generator.device
        return UpdateNoise(
            target_BL=torch.randn(shape, generator=generator, device=device),
            flow_x0_BL=torch.randn(shape, generator=generator, device=device),
            flow_time_B1=torch.rand((batch_size, 1), generator=generator, device=device),
            distillation_BL=torch.randn(shape, generator=generator, device=device),
        )

    def set_normalization(self, mean_O: Tensor, std_O: Tensor) -> None:
        """Scale observations by these from now on."""
        self.observation_mean.copy_(mean_O)
        self.observation_std.copy_(std_O)

    def _policy(self, observation_BO: Tensor, noise_BL: Tensor) -> Tensor:
        return self.one_step(torch.cat([observation_BO, noise_BL], dim=-1)).clamp(-1, 1)

    def _normalize(self, observation_BO: Tensor) -> Tensor:
        return (observation_BO - self.observation_mean) / self.observation_std

    def _as_chunk(self, chunk_BL: Tensor) -> Tensor:
        return chunk_BL.unflatten(-1, (self.config.horizon, self.action_size))

    def _trained(self) -> list[nn.Parameter]:
        return [
            *self.flow.parameters(),
            *self.one_step.parameters(),
            *self.critic.parameters(),
        ]


def _values(critic: MLP, observation_BO: Tensor, actions_BL: Tensor) -> Tensor:
    """Q of every ensemble member: [K, B]."""
    return critic(torch.cat([observation_BO, actions_BL], dim=-1)).squeeze(-1)

"""What the methods of the flow family share: critics over chunks, and a cloned flow policy.

Shapes: B batch, K critics, N candidates, O observation, C actions per chunk, A action, L = C·A.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qc_core.agents.losses import chunk_target, critic_loss, flow_matching_loss, flow_point
from qc_core.data.windows import Windows
from qc_core.networks.flow import VelocityField, integrate
from qc_core.networks.mlp import MLP
from qc_core.recipes.config import TrainConfig

Info = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class UpdateNoise:
    """Everything random in one update, standard normal but for the uniform flow time.

    Attributes:
        target: [B, *noise_shape], for the action in the target.
    """

    target: Tensor
    flow_x0_BL: Tensor
    flow_time_B1: Tensor


class FlowAgent(nn.Module, ABC):
    """Networks, losses and one update; how the policy is extracted is the subclass's.

    `chunk` and `update` take observations in raw units; normalisation, if any, is the agent's own
    and travels with its weights. The losses take windows that are normalised already.
    """

    observation_mean: Tensor
    observation_std: Tensor
    optimizer: torch.optim.Adam

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.observation_size, self.action_size = observation_size, action_size
        self.chunk_size = config.chunk_length * action_size
        inputs = observation_size + self.chunk_size
        self.flow = VelocityField(observation_size, self.chunk_size, config.widths)
        self.critic = MLP(inputs, config.widths, 1, layer_norm=True, members=config.critics)
        self.target_critic = MLP(inputs, config.widths, 1, layer_norm=True, members=config.critics)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))

    # What the policy does

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the policy's noise for one observation."""

    @abstractmethod
    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Chunks [B, L] in [-1, 1] for normalised observations and noise [B, *noise_shape]."""

    def chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """The learned policy: [B, O], [B, *noise_shape] → [B, C, A] in [-1, 1]."""
        return self._as_chunk(self.choose(self._normalize(observation_BO), noise))

    def cloned_chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Behaviour cloning alone, the flow from the first of the noise: → [B, C, A]."""
        noise_BL = noise.reshape(len(noise), -1)[:, : self.chunk_size]
        observation_BO = self._normalize(observation_BO)
        return self._as_chunk(
            integrate(self.flow, observation_BO, noise_BL, self.config.flow_steps)
        )

    # How it learns

    def critic_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """The critics' regression on their multi-step target."""
        with torch.no_grad():
            next_actions_BL = self.choose(windows.next_observations_BO, noise.target)
            next_values_KB = self.values(
                self.target_critic, windows.next_observations_BO, next_actions_BL
            )
            target_B = chunk_target(windows.returns_B, windows.bootstrap_B, next_values_KB)
        values_KB = self.values(self.critic, windows.observations_BO, self.data_chunk(windows))
        loss = critic_loss(values_KB, target_B, windows.weight_B)
        return loss, {"loss": loss, "value": values_KB.mean(), "target": target_B.mean()}

    @abstractmethod
    def actor_loss(self, windows: Windows, noise: UpdateNoise) -> tuple[Tensor, Info]:
        """What the policy's networks minimise; it runs through the critics without moving them."""

    def cloning_loss(self, windows: Windows, noise: UpdateNoise) -> Tensor:
        """The flow's behaviour cloning, which no value reaches."""
        x1_BL = self.data_chunk(windows)
        x_BL = flow_point(noise.flow_x0_BL, x1_BL, noise.flow_time_B1)
        velocity_BL = self.flow(windows.observations_BO, x_BL, noise.flow_time_B1)
        valid_BC = windows.valid_BH[:, : self.config.chunk_length]
        return flow_matching_loss(velocity_BL, noise.flow_x0_BL, x1_BL, valid_BC)

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
        loss_of_actor.backward(inputs=self.policy_parameters())
        # The target follows the critic as it was before this step.
        with torch.no_grad():
            for target, online in zip(
                self.target_critic.parameters(), self.critic.parameters(), strict=True
            ):
                target.lerp_(online, self.config.target_rate)
        self.optimizer.step()
        info = {f"critic/{name}": value.detach() for name, value in critic_info.items()}
        return info | {f"actor/{name}": value.detach() for name, value in actor_info.items()}

    @abstractmethod
    def draw_noise(self, batch_size: int, generator: torch.Generator) -> UpdateNoise:
        """Fresh noise for one update, on the generator's device."""

    @abstractmethod
    def policy_parameters(self) -> list[nn.Parameter]:
        """What the actor loss moves."""

    def make_optimizer(self) -> torch.optim.Adam:
        """One Adam over everything that learns."""
        parameters = [*self.policy_parameters(), *self.critic.parameters()]
        return torch.optim.Adam(parameters, lr=self.config.learning_rate, eps=1e-8, fused=True)

    def set_learning_rate(self, rate: float) -> None:
        """Use this rate from the next update on."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def set_normalization(self, mean_O: Tensor, std_O: Tensor) -> None:
        """Scale observations by these from now on."""
        self.observation_mean.copy_(mean_O)
        self.observation_std.copy_(std_O)

    def normalize_windows(self, windows: Windows) -> Windows:
        """Windows as the losses want them."""
        return windows._replace(
            observations_BO=self._normalize(windows.observations_BO),
            next_observations_BO=self._normalize(windows.next_observations_BO),
        )

    def data_chunk(self, windows: Windows) -> Tensor:
        """The actions of the data that policy and critics act on, [B, L]."""
        return windows.actions_BHA[:, : self.config.chunk_length].flatten(1)

    @staticmethod
    def values(critic: MLP, observation_BO: Tensor, actions_BL: Tensor) -> Tensor:
        """Q of every ensemble member: [K, B]."""
        return critic(torch.cat([observation_BO, actions_BL], dim=-1)).squeeze(-1)

    def _normalize(self, observation_BO: Tensor) -> Tensor:
        return (observation_BO - self.observation_mean) / self.observation_std

    def _as_chunk(self, chunk_BL: Tensor) -> Tensor:
        return chunk_BL.unflatten(-1, (self.config.chunk_length, self.action_size))

"""What every method shares: an ensemble of critics on chunks, a policy, and one update of both.

Shapes: B batch, K critics, O observation, C actions per chunk, A action, L = C·A.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qc_core.agents.losses import chunk_target, critic_loss
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks import kernels as arithmetic
from qc_core.networks.mlp import MLP, Activation, Norm

Info = dict[str, Tensor]

# One kernel for all tensors on a GPU. Not in torch's stubs.
_foreach_lerp: Any = torch.ops.aten._foreach_lerp_.Scalar


@dataclass(frozen=True, slots=True)
class UpdateNoise:
    """Everything random in one update.

    Attributes:
        target: [B, *noise_shape], standard normal, for the action in the target.
    """

    target: Tensor


class Agent(nn.Module, ABC):
    """Networks, losses and one update; how the policy is made is the subclass's.

    `chunk` takes observations and gives actions in the environment's units; both scalings are the
    agent's own and travel with its weights. `choose` and the losses work on normalised
    observations and on actions in [-1, 1].

    `make_agent` makes one that is ready to learn.

    Attributes:
        arithmetic: kernels that an update computes with; plain torch's, unless training chooses.
    """

    observation_mean: Tensor
    observation_std: Tensor
    action_low: Tensor
    action_high: Tensor
    optimizer: torch.optim.Adam

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: TrainConfig,
        *,
        activation: Activation,
        critic_norm: Norm,
    ) -> None:
        super().__init__()
        self.config = config
        self.settings = config.algorithm
        self.arithmetic = arithmetic.PLAIN
        self.observation_size, self.action_size = observation_size, action_size
        self.chunk_size = config.chunk_length * action_size

        def ensemble() -> MLP:
            return MLP(
                observation_size + self.chunk_size,
                config.hidden_dims,
                1,
                activation=activation,
                norm=critic_norm,
                members=config.num_critics,
            )

        self.critic = ensemble()
        self.target_critic = ensemble()
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))
        self.register_buffer("action_low", -torch.ones(action_size))
        self.register_buffer("action_high", torch.ones(action_size))

    # What the policy does

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the policy's noise for one observation."""

    @abstractmethod
    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Chunks [B, L] in [-1, 1] for normalised observations and noise [B, *noise_shape]."""

    def chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """The learned policy: [B, O], [B, *noise_shape] → [B, C, A], within the action bounds."""
        return self.in_environment_units(self.choose(self._normalize(observation_BO), noise))

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

    def update(self, windows: Windows, noise: UpdateNoise) -> Info:
        """One optimiser step on all networks, then the target critic's lagging average.

        Nothing in it waits for the device or depends on a number there, so that a GPU can record
        it and repeat it.

        Returns:
            Figures as tensors on the device, named `critic/…` and `actor/…`.
        """
        windows = self.normalize_windows(windows)
        with arithmetic.using(self.arithmetic):
            loss_of_critic, critic_info = self.critic_loss(windows, noise)
            loss_of_actor, actor_info = self.actor_loss(windows, noise)
        self.optimizer.zero_grad(set_to_none=True)
        loss_of_critic.backward(inputs=[*self.critic.parameters()])
        loss_of_actor.backward(inputs=self.policy_parameters())
        # The target follows the critic as it was before this step.
        targets: list[Tensor] = [*self.target_critic.parameters()]
        online: list[Tensor] = [*self.critic.parameters()]
        with torch.no_grad():
            _foreach_lerp(targets, online, self.config.tau)
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
        """One Adam over everything that learns, where the networks are now."""
        parameters = [*self.policy_parameters(), *self.critic.parameters()]
        device = parameters[0].device
        return torch.optim.Adam(
            parameters,
            lr=torch.tensor(self.config.learning_rate, device=device),
            eps=1e-8,
            fused=True,
            capturable=device.type == "cuda",
        )

    def set_learning_rate(self, rate: float | Tensor) -> None:
        """Use this rate, a number or a tensor on the device, from the next update on."""
        for group in self.optimizer.param_groups:
            group["lr"].copy_(rate) if isinstance(rate, Tensor) else group["lr"].fill_(rate)

    def set_normalization(self, mean_O: Tensor, std_O: Tensor) -> None:
        """Scale observations by these from now on."""
        self.observation_mean.copy_(mean_O)
        self.observation_std.copy_(std_O)

    def set_action_bounds(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Give chunks between these bounds, A numbers each, from now on."""
        self.action_low.copy_(torch.tensor(low))
        self.action_high.copy_(torch.tensor(high))

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

    def in_environment_units(self, chunk_BL: Tensor) -> Tensor:
        """[B, L] in [-1, 1] → [B, C, A] within the action bounds."""
        chunk_BCA = chunk_BL.unflatten(-1, (self.config.chunk_length, self.action_size))
        low_A, high_A = self.action_low, self.action_high
        scaled_BCA = chunk_BCA * ((high_A - low_A) / 2) + (high_A + low_A) / 2
        # Rounding may have passed a bound.
        return scaled_BCA.clamp(low_A, high_A)

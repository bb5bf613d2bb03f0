"""The critics that all methods of the paper share: an ensemble on chunks with a multi-step target.

Shapes: B batch, K critics, O observation, L flattened chunk.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Agent, LaggingCopy, Loss, Noise, Settings
from qc_core.agents.losses import chunk_target, critic_loss
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.layers import Activation, Norm
from qc_core.networks.mlp import MLP
from qc_core.networks.side_by_side import side_by_side


class CriticAgent(Agent[Settings, Noise]):
    """An agent with critics Q(s, a) and target critics; subclasses add the policy and its loss."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: TrainConfig,
        *,
        activation: Activation,
        critic_norm: Norm,
    ) -> None:
        super().__init__(observation_size, action_size, config)

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

    def critic_loss(self, windows: Windows, target_noise: Tensor) -> Loss:
        """The critics' regression on their multi-step target.

        Args:
            target_noise: [B, *noise_shape], for the policy's chunk in the target.
        """

        def values() -> Tensor:
            return self.values(self.critic, windows.observations_BO, self.data_chunk(windows))

        @torch.no_grad()
        def target() -> Tensor:
            next_actions_BL = self.choose(windows.next_observations_BO, target_noise)
            next_values_KB = self.values(
                self.target_critic, windows.next_observations_BO, next_actions_BL
            )
            return chunk_target(windows.returns_B, windows.bootstrap_B, next_values_KB)

        values_KB, target_B = side_by_side(
            [values, target], target_noise.device, streams=self.kernels.streams
        )
        loss = critic_loss(values_KB, target_B, windows.weight_B)
        figures = {"value": values_KB.mean(), "target": target_B.mean()}
        return Loss("critic", loss, [*self.critic.parameters()], figures)

    @staticmethod
    def values(critic: MLP, observation_BO: Tensor, actions_BL: Tensor) -> Tensor:
        """Q of every ensemble member, [K, B]."""
        return critic(torch.cat([observation_BO, actions_BL], dim=-1)).squeeze(-1)

    @abstractmethod
    def policy_parameters(self) -> list[nn.Parameter]:
        """The parameters of the policy's networks."""

    def learned_parameters(self) -> list[nn.Parameter]:
        return [*self.policy_parameters(), *self.critic.parameters()]

    def lagging_copies(self) -> tuple[LaggingCopy, ...]:
        return (LaggingCopy(self.critic, self.target_critic, self.config.tau),)

"""RLPD, RLPD-AC and QC-RLPD: soft actor-critic on single actions or on chunks.

Shapes: B batch, K critics, O observation, L flattened chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Loss, LossFunction
from qc_core.agents.critic_agent import CriticAgent
from qc_core.agents.losses import likelihood_bc_loss, soft_actor_loss, temperature_loss
from qc_core.config.methods import GaussianSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.gaussian import GaussianActor


@dataclass(frozen=True, slots=True)
class SACNoise:
    """The random numbers of one update, standard normal.

    Attributes:
        target: [B, L], for the policy's chunk in the critic's target.
        actor_BL: for the policy's chunk in the actor loss.
    """

    target: Tensor
    actor_BL: Tensor


class SACAgent(CriticAgent[GaussianSettings, SACNoise]):
    """A tanh-Gaussian policy with a learned entropy temperature.

    As in the paper, the backup has no entropy term, and the target is the mean of the critics.
    """

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(
            observation_size, action_size, config, activation="relu", critic_norm="before"
        )
        self.actor = GaussianActor(observation_size, self.chunk_size, config.hidden_dims)
        self.log_temperature = nn.Parameter(torch.tensor(self.settings.initial_temperature).log())
        self.target_entropy = -self.settings.target_entropy_factor * self.chunk_size

    @property
    def offline_fraction(self) -> float:
        return self.settings.offline_fraction

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.chunk_size,)

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        return self.actor(observation_BO).sample(noise)[0]

    def losses(self, windows: Windows, noise: SACNoise) -> list[LossFunction]:
        return [
            partial(self.critic_loss, windows, noise.target),
            partial(self.actor_loss, windows, noise),
        ]

    def actor_loss(self, windows: Windows, noise: SACNoise) -> Loss:
        """soft actor loss + temperature loss + bc_weight · bc loss (QC-RLPD only)."""
        policy = self.actor(windows.observations_BO)
        chunk_BL, log_likelihood_B = policy.sample(noise.actor_BL)
        values_KB = self.values(self.critic, windows.observations_BO, chunk_BL)
        temperature = self.log_temperature.exp()
        soft = soft_actor_loss(values_KB, log_likelihood_B, temperature.detach())
        entropy = -log_likelihood_B.mean()
        of_temperature = temperature_loss(temperature, entropy.detach(), self.target_entropy)
        loss = soft + of_temperature
        figures = {
            "soft_loss": soft,
            "temperature_loss": of_temperature,
            "temperature": temperature,
            "entropy": entropy,
        }
        if self.settings.bc_weight:
            bc = likelihood_bc_loss(policy.log_likelihood(self.data_chunk(windows)))
            loss = loss + self.settings.bc_weight * bc
            figures["bc_loss"] = bc
        return Loss("actor", loss, self.policy_parameters(), figures)

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> SACNoise:
        shape, device = (batch_size, self.chunk_size), generator.device
        return SACNoise(
            target=torch.randn(shape, generator=generator, device=device),
            actor_BL=torch.randn(shape, generator=generator, device=device),
        )

    def policy_parameters(self) -> list[nn.Parameter]:
        return [*self.actor.parameters(), self.log_temperature]

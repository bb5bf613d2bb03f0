"""What the methods of the flow family share: a flow that clones the data's chunks.

Shapes: B batch, O observation, C actions per chunk, A action, L = C·A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from qc_core.agents.agent import Info, Loss
from qc_core.agents.critic_agent import CriticAgent
from qc_core.agents.losses import flow_bc_loss, flow_point
from qc_core.config.methods import FlowSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.flow import VelocityField, integrate


@dataclass(frozen=True, slots=True)
class FlowNoise:
    """The random numbers of one update.

    Attributes:
        target: [B, *noise_shape], standard normal, for the policy's chunk in the critic's target.
        flow_x0_BL: standard normal, where the flow starts.
        flow_time_B1: the flow time, uniform in [0, 1].
    """

    target: Tensor
    flow_x0_BL: Tensor
    flow_time_B1: Tensor


FlowSettingsT = TypeVar("FlowSettingsT", bound=FlowSettings)
FlowNoiseT = TypeVar("FlowNoiseT", bound=FlowNoise)


class FlowAgent(CriticAgent[FlowSettingsT, FlowNoiseT]):
    """An agent with a behaviour-cloning flow; subclasses make the policy from it."""

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(
            observation_size, action_size, config, activation="gelu", critic_norm="after"
        )
        self.flow = VelocityField(observation_size, self.chunk_size, config.hidden_dims)

    def bc_chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """The flow's chunk, from the first L numbers of the noise: → [B, C, A]."""
        noise_BL = noise.reshape(len(noise), -1)[:, : self.chunk_size]
        velocity = self.flow.condition(self.normalize(observation_BO))
        return self.in_environment_units(integrate(velocity, noise_BL, self.settings.flow_steps))

    def bc_loss(self, windows: Windows, noise: FlowNoise) -> Tensor:
        """The flow's behaviour-cloning loss on the data's chunks."""
        x1_BL = self.data_chunk(windows)
        x_BL = flow_point(noise.flow_x0_BL, x1_BL, noise.flow_time_B1)
        velocity_BL = self.flow(windows.observations_BO, x_BL, noise.flow_time_B1)
        valid_BC = windows.valid_BH[:, : self.config.chunk_length]
        return flow_bc_loss(velocity_BL, noise.flow_x0_BL, x1_BL, valid_BC)

    def flow_loss(self, windows: Windows, noise: FlowNoise) -> Loss:
        """The part of the actor loss that trains the flow: behaviour cloning alone."""
        bc = self.bc_loss(windows, noise)
        return Loss("actor", bc, [*self.flow.parameters()], {"bc_loss": bc})

    def validation_losses(self, windows: Windows, noise: FlowNoiseT) -> Info:
        return {"bc_loss": self.bc_loss(windows, noise)}

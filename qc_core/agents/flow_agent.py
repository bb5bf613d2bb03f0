"""What the methods of the flow family share: a flow policy that clones the data.

Shapes: B batch, N candidates, O observation, C actions per chunk, A action, L = C·A.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qc_core.agents.agent import Agent, UpdateNoise
from qc_core.agents.losses import flow_matching_loss, flow_point
from qc_core.config.methods import FlowSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.networks.flow import VelocityField, integrate


@dataclass(frozen=True, slots=True)
class FlowNoise(UpdateNoise):
    """The noise of one update; the flow's time is uniform in [0, 1]."""

    flow_x0_BL: Tensor
    flow_time_B1: Tensor


class FlowAgent(Agent):
    """An agent whose policy is kept near the data by a flow; the subclass says how."""

    settings: FlowSettings

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(
            observation_size, action_size, config, activation="gelu", critic_norm="after"
        )
        self.flow = VelocityField(observation_size, self.chunk_size, config.hidden_dims)

    def cloned_chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Behaviour cloning alone, the flow from the first of the noise: → [B, C, A]."""
        noise_BL = noise.reshape(len(noise), -1)[:, : self.chunk_size]
        velocity = self.flow.given(self._normalize(observation_BO))
        return self.in_environment_units(integrate(velocity, noise_BL, self.settings.flow_steps))

    def cloning_loss(self, windows: Windows, noise: FlowNoise) -> Tensor:
        """The flow's behaviour cloning, which no value reaches."""
        x1_BL = self.data_chunk(windows)
        x_BL = flow_point(noise.flow_x0_BL, x1_BL, noise.flow_time_B1)
        velocity_BL = self.flow(windows.observations_BO, x_BL, noise.flow_time_B1)
        valid_BC = windows.valid_BH[:, : self.config.chunk_length]
        return flow_matching_loss(velocity_BL, noise.flow_x0_BL, x1_BL, valid_BC)

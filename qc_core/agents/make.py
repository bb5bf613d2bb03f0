"""The agent of a method."""

from __future__ import annotations

from collections.abc import Callable

import torch

from qc_core.agents.agent import Agent
from qc_core.agents.best_of_n import BestOfNAgent
from qc_core.agents.one_step import OneStepAgent
from qc_core.agents.sac import SACAgent
from qc_core.recipes.config import TrainConfig
from qc_core.recipes.methods import METHODS

# By the method's policy.
KINDS: dict[str, Callable[[int, int, TrainConfig], Agent]] = {
    "one-step": OneStepAgent,
    "best-of-n": BestOfNAgent,
    "gaussian": SACAgent,
}
_CPU = torch.device("cpu")


def make_agent(
    observation_size: int,
    action_size: int,
    config: TrainConfig,
    device: torch.device = _CPU,
) -> Agent:
    """A freshly initialised agent for `config.method`; the same numbers on every device."""
    agent = KINDS[METHODS[config.method].policy](observation_size, action_size, config).to(device)
    agent.optimizer = agent.make_optimizer()
    return agent

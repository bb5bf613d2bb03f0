"""The agent of a method."""

from __future__ import annotations

import importlib

import torch

from qc_core.agents.agent import Agent
from qc_core.config.methods import METHODS
from qc_core.config.settings import TrainConfig

_CPU = torch.device("cpu")


def agent_class(method: str) -> type[Agent]:
    """Return the class that implements a method, as the methods table names it."""
    module, _, name = METHODS[method].agent.partition(":")
    return getattr(importlib.import_module(module), name)


def make_agent(
    observation_size: int,
    action_size: int,
    config: TrainConfig,
    device: torch.device = _CPU,
) -> Agent:
    """A freshly initialised agent for `config.method`; the same numbers on every device."""
    agent = agent_class(config.method)(observation_size, action_size, config).to(device)
    agent.optimizer = agent.make_optimizer()
    return agent

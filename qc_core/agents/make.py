"""Make the agent of a method."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from qc_core.agents.agent import Agent
from qc_core.config.methods import METHODS
from qc_core.config.settings import TrainConfig

_CPU = torch.device("cpu")


def agent_class(method: str) -> type[Agent[Any, Any]]:
    """Return the class that implements a method, as the methods table names it."""
    module, _, name = METHODS[method].agent.partition(":")
    return getattr(importlib.import_module(module), name)


def make_agent(
    observation_size: int,
    action_size: int,
    config: TrainConfig,
    device: torch.device = _CPU,
) -> Agent[Any, Any]:
    """Return a new agent for `config.method`, with fresh weights, on the device.

    Weights are drawn on the CPU from torch's global generator: they are equal on every device.
    """
    return agent_class(config.method)(observation_size, action_size, config).to(device)

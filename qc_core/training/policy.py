"""An agent as a chunk function over NumPy arrays, to be played in an environment."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from qc_core.agents.agent import Agent
from qc_core.agents.flow_agent import FlowAgent
from qc_core.errors import UsageError
from qc_core.runtime.executor import require_execution_horizon
from qc_core.training.checkpoint import load_agent

PolicyKind = Literal["bc", "learned"]


class AgentPolicy:
    """Plays an agent's learned policy, or its behaviour-cloning flow."""

    def __init__(
        self, agent: Agent, kind: PolicyKind = "learned", *, execution_horizon: int = 0
    ) -> None:
        """Play an agent as it is, and as it changes.

        Args:
            execution_horizon: actions to play of a chunk before asking again; 0 plays them all.
        """
        horizon = agent.config.chunk_length
        self._chunk = agent.chunk
        if kind == "bc":
            if not isinstance(agent, FlowAgent):
                raise UsageError(
                    f"{agent.config.method} has no behaviour-cloning policy: play the learned one"
                )
            self._chunk = agent.cloned_chunk
        self._device = agent.observation_mean.device
        self.noise_shape = agent.noise_shape
        self.execution_horizon = require_execution_horizon(execution_horizon or horizon, horizon)

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            chunk_BHA = self._chunk(
                torch.from_numpy(observation_BO).to(self._device),
                torch.from_numpy(noise).to(self._device),
            )
        return chunk_BHA.cpu().numpy()


class ExplorationPolicy(AgentPolicy):
    """The learned policy or, while `uniform` is set, chunks uniform within the bounds.

    The noise of the Gaussian policies is the chunk's size, and so serves for both.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._agent = agent
        self.uniform = False

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if not self.uniform:
            return super().__call__(observation_BO, noise)
        # The normal distribution function makes normal noise uniform.
        uniform_BL = torch.special.ndtr(torch.from_numpy(noise).to(self._device)) * 2 - 1
        return self._agent.in_environment_units(uniform_BL).cpu().numpy()


@dataclass(frozen=True)
class CheckpointPolicy:
    """Loads a checkpoint's policy wherever it is called, for worker processes."""

    checkpoint: Path
    kind: PolicyKind
    execution_horizon: int = 0

    def __call__(self) -> AgentPolicy:
        if parent_process() is not None:
            # One worker process per core: none may take the others'.
            torch.set_num_threads(1)
        agent = load_agent(self.checkpoint, torch.device("cpu"))
        return AgentPolicy(agent, self.kind, execution_horizon=self.execution_horizon)

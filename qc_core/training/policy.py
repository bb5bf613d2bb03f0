"""An agent as a chunk function over NumPy arrays, to be played in an environment."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from qc_core.agents.flow_agent import FlowAgent
from qc_core.training.checkpoint import load_agent

PolicyKind = Literal["cloned", "learned"]


class AgentPolicy:
    """Plays an agent's learned policy, or the flow it was cloned into."""

    def __init__(self, agent: FlowAgent, kind: PolicyKind = "learned") -> None:
        self._chunk = agent.chunk if kind == "learned" else agent.cloned_chunk
        self._device = agent.observation_mean.device
        self.noise_shape = agent.noise_shape
        self.execution_length = agent.config.chunk_length

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            chunk_BHA = self._chunk(
                torch.from_numpy(observation_BO).to(self._device),
                torch.from_numpy(noise).to(self._device),
            )
        return chunk_BHA.cpu().numpy()


@dataclass(frozen=True)
class CheckpointPolicy:
    """Loads a checkpoint's policy wherever it is called, for worker processes."""

    checkpoint: Path
    kind: PolicyKind

    def __call__(self) -> AgentPolicy:
        if parent_process() is not None:
            # One worker process per core: none may take the others'.
            torch.set_num_threads(1)
        return AgentPolicy(load_agent(self.checkpoint, torch.device("cpu")), self.kind)

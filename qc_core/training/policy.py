"""Policies that act with an agent's networks: chunks from NumPy observations and noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from qc_core.agents.agent import Agent
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.runtime.executor import require_execution_horizon

# `bc` is the behaviour-cloning flow that the learned policy is based on.
PolicyKind = Literal["bc", "learned"]


class AgentPolicy:
    """Acts with an agent's learned policy, or with its behaviour-cloning flow."""

    def __init__(
        self, agent: Agent, kind: PolicyKind = "learned", *, execution_horizon: int = 0
    ) -> None:
        """Act with an agent's current weights, also while it learns.

        Args:
            execution_horizon: actions of a chunk to execute before the next chunk; 0 executes all.

        Raises:
            UsageError: the method has no such policy, or the horizon is longer than a chunk.
        """
        chunk_length = agent.config.chunk_length
        self._chunk = agent.chunk
        if kind == "bc":
            if not agent.config.algorithm.has_bc_policy:
                raise UsageError(
                    f"{agent.config.method} has no behaviour-cloning policy: use the learned one"
                )
            self._chunk = agent.bc_chunk
        self._device = agent.observation_mean.device
        self.noise_shape = agent.noise_shape
        self.execution_horizon = require_execution_horizon(
            execution_horizon or chunk_length, chunk_length
        )

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return chunks [B, H, A] (TrainingDiverged: one is not finite)."""
        with torch.inference_mode():
            chunk_BHA = self._chunk(
                torch.from_numpy(observation_BO).to(self._device),
                torch.from_numpy(noise).to(self._device),
            )
        actions_BHA = chunk_BHA.cpu().numpy()
        # An environment would be blamed for what it does with such an action.
        if not np.isfinite(actions_BHA).all():
            raise TrainingDiverged(
                "training diverged: the policy gives an action that is not finite for "
                f"observations from {observation_BO.min():.4g} to {observation_BO.max():.4g}; "
                "lower the learning rate, or scale observations that are extreme"
            )
        return actions_BHA


class ExplorationPolicy(AgentPolicy):
    """Acts with the learned policy, or with uniform chunks while `uniform` is set.

    Only methods with a Gaussian policy explore uniformly: their noise has the size of a chunk.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._agent = agent
        self.uniform = False

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if not self.uniform:
            return super().__call__(observation_BO, noise)
        # The distribution function of the normal distribution turns normal noise into uniform.
        uniform_BL = torch.special.ndtr(torch.from_numpy(noise).to(self._device)) * 2 - 1
        return self._agent.in_environment_units(uniform_BL).cpu().numpy()

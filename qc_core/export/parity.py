"""Test cases for which an exported policy must return the same chunks as torch.

Shapes: B cases, N samples, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qc_core.agents.agent import Agent
from qc_core.policy_format.contract import Actions
from qc_core.runtime.golden import max_difference

# Two values of the critic are equal if they differ by less than this, relative to the larger one
# and 1. Summation order alone causes smaller differences, so either sample is correct.
TIE = 1e-5
_GOLDEN_CASES = 16


@dataclass(frozen=True, slots=True)
class Cases:
    """Inputs with the correct chunks.

    Attributes:
        chunk_BNHA: all samples of a best-of-N policy, torch's choice first; for other policies
            the only chunk.
        correct_BN: which of the chunks are correct; several if their values are equal.
    """

    observation_BO: np.ndarray
    noise: np.ndarray
    chunk_BNHA: np.ndarray
    correct_BN: np.ndarray

    def difference(self, chunk_BHA: np.ndarray, action: Actions) -> float:
        """Return the maximum distance to the nearest correct chunk, as `max_difference` does."""
        distance_BN = np.abs(self.chunk_BNHA - chunk_BHA[:, None]).max(axis=(2, 3))
        nearest_B = np.where(self.correct_BN, distance_BN, np.inf).argmin(axis=1)
        expected_BHA = self.chunk_BNHA[np.arange(len(nearest_B)), nearest_B]
        return max_difference(chunk_BHA, expected_BHA, action)

    def write_golden(self, path: Path) -> None:
        """Write some cases with one chunk each; prefer cases with only one correct chunk."""
        chosen = self.correct_BN.sum(axis=1).argsort(kind="stable")[:_GOLDEN_CASES]
        np.savez(
            path,
            observation=self.observation_BO[chosen],
            noise=self.noise[chosen],
            action_chunk=self.chunk_BNHA[chosen, 0],
        )


def draw_cases(agent: Agent, count: int, seed: int) -> Cases:
    """Return random observations at the scale of the data, noise, and the chunks of torch."""
    rng = np.random.default_rng(seed)
    observation = rng.standard_normal((count, agent.observation_size), dtype=np.float32)
    observation = observation * agent.observation_std.numpy() + agent.observation_mean.numpy()
    noise = rng.standard_normal((count, *agent.noise_shape), dtype=np.float32)
    with torch.inference_mode():
        inputs = torch.from_numpy(observation), torch.from_numpy(noise)
        sample_BNL, value_BN = agent.samples(*inputs)
        value_BN, order_BN = value_BN.sort(dim=1, descending=True, stable=True)
        best_B1 = value_BN[:, :1]
        correct_BN = value_BN >= best_B1 - TIE * best_B1.abs().clamp(min=1)
        sorted_BNL = sample_BNL.take_along_dim(order_BN[:, :, None], dim=1)
        chunk_BNHA = agent.in_environment_units(sorted_BNL)
    return Cases(observation, noise, chunk_BNHA.numpy(), correct_BN.numpy())

"""Cases that an exported policy must compute as torch does.

Shapes: B cases, N candidates, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qc_core.agents.agent import Agent
from qc_core.runtime.golden import greatest_difference

# Critics' values that differ by less than this, relative to the larger of them and 1, are equal:
# sums in another order differ by less, and either of the candidates is right.
TIE = 1e-5
_GOLDEN_CASES = 16


@dataclass(frozen=True, slots=True)
class Cases:
    """Inputs, and the chunks that are right for each.

    Attributes:
        chunk_BNHA: every candidate of a policy that chooses, torch's choice first; else the only
            chunk.
        right_BN: which of these are right: more than one where the best tie.
    """

    observation_BO: np.ndarray
    noise: np.ndarray
    chunk_BNHA: np.ndarray
    right_BN: np.ndarray

    def difference(self, chunk_BHA: np.ndarray, contract: dict[str, Any]) -> float:
        """The greatest distance to the nearest right chunk, as `greatest_difference` has it."""
        distance_BN = np.abs(self.chunk_BNHA - chunk_BHA[:, None]).max(axis=(2, 3))
        nearest_B = np.where(self.right_BN, distance_BN, np.inf).argmin(axis=1)
        expected_BHA = self.chunk_BNHA[np.arange(len(nearest_B)), nearest_B]
        return greatest_difference(chunk_BHA, expected_BHA, contract)

    def write_golden(self, path: Path) -> None:
        """Write some of them with one chunk each, those first that have only one."""
        chosen = self.right_BN.sum(axis=1).argsort(kind="stable")[:_GOLDEN_CASES]
        np.savez(
            path,
            observation=self.observation_BO[chosen],
            noise=self.noise[chosen],
            action_chunk=self.chunk_BNHA[chosen, 0],
        )


def draw_cases(agent: Agent, count: int, seed: int) -> Cases:
    """Random observations at the data's scale, noise, and what torch makes of them."""
    rng = np.random.default_rng(seed)
    observation = rng.standard_normal((count, agent.observation_size), dtype=np.float32)
    observation = observation * agent.observation_std.numpy() + agent.observation_mean.numpy()
    noise = rng.standard_normal((count, *agent.noise_shape), dtype=np.float32)
    with torch.inference_mode():
        inputs = torch.from_numpy(observation), torch.from_numpy(noise)
        sample_BNL, value_BN = agent.samples(*inputs)
        value_BN, order_BN = value_BN.sort(dim=1, descending=True, stable=True)
        best_B1 = value_BN[:, :1]
        right_BN = value_BN >= best_B1 - TIE * best_B1.abs().clamp(min=1)
        sorted_BNL = sample_BNL.take_along_dim(order_BN[:, :, None], dim=1)
        chunk_BNHA = agent.in_environment_units(sorted_BNL)
    return Cases(observation, noise, chunk_BNHA.numpy(), right_BN.numpy())

"""A Gaussian over chunks, squashed into [-1, 1] by tanh.

Shapes: B batch, O observation, L flattened chunk (chunk length · action size), W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from qc_core.networks.mlp import MLP

LOG_STD_RANGE = (-20.0, 2.0)


class TanhGaussian(NamedTuple):
    """The distribution of tanh(mean + std · noise) with standard normal noise."""

    mean_BL: Tensor
    log_std_BL: Tensor

    def sample(self, noise_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chunk [B, L] for this noise and its log-likelihood [B]."""
        raw_BL = self.mean_BL + self.log_std_BL.exp() * noise_BL
        return raw_BL.tanh(), self._log_likelihood_of_raw(raw_BL, noise_BL)

    def log_likelihood(self, chunk_BL: Tensor) -> Tensor:
        """Return the log-likelihood [B] of chunks [B, L] strictly inside (-1, 1)."""
        raw_BL = chunk_BL.atanh()
        return self._log_likelihood_of_raw(
            raw_BL, (raw_BL - self.mean_BL) * (-self.log_std_BL).exp()
        )

    def _log_likelihood_of_raw(self, raw_BL: Tensor, noise_BL: Tensor) -> Tensor:
        normal_BL = -0.5 * noise_BL**2 - self.log_std_BL - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh²(u)), in a form that stays accurate for large u.
        squash_BL = 2 * (math.log(2) - raw_BL - functional.softplus(-2 * raw_BL))
        return (normal_BL - squash_BL).sum(dim=-1)


class GaussianActor(nn.Module):
    """π(a | s): ReLU layers, then a Dense layer for the mean and one for log σ."""

    def __init__(self, observation_size: int, chunk_size: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        *hidden, last = hidden_dims
        self.trunk = MLP(observation_size, hidden, last, activation="relu")
        self.mean = MLP(last, (), chunk_size)
        self.log_std = MLP(last, (), chunk_size)

    def forward(self, observation_BO: Tensor) -> TanhGaussian:
        """Return the distribution of the chunks [B, L] for observations [B, O]."""
        features_BW = torch.relu(self.trunk(observation_BO))
        return TanhGaussian(self.mean(features_BW), self.log_std(features_BW).clamp(*LOG_STD_RANGE))

"""Offline figures of a policy: how it fits recorded episodes that it was not trained on.

They say nothing about how the policy acts: no episode is played. This module does not import torch.

Shapes: W windows, O observation, H actions per chunk, A action, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.dataset.info import INFO_FILE
from qc_core.errors import UsageError
from qc_core.runtime.executor import ChunkFunction

# Samples of the policy for each recorded chunk.
_SAMPLES = 64
# Standard deviation of the kernel around each sample, where an action's range is -1 to 1.
_BANDWIDTH = 0.1
_MAX_WINDOWS = 1024
# Of the noise of every policy.
NOISE_SEED = 0


@dataclass(frozen=True, slots=True)
class Windows:
    """Chunks that were recorded in held-out episodes.

    Attributes:
        observations_WO: raw units, at the start of each chunk.
        chunks_WHA: environment units.
        episode_W: number of the episode of each chunk.
    """

    observations_WO: np.ndarray
    chunks_WHA: np.ndarray
    episode_W: np.ndarray

    @property
    def episodes(self) -> int:
        """Number of episodes with at least one chunk."""
        return len(np.unique(self.episode_W))

    def per_episode(self, values_W: np.ndarray) -> np.ndarray:
        """Return the mean of each episode."""
        counts = np.bincount(self.episode_W)
        return (np.bincount(self.episode_W, values_W) / np.maximum(counts, 1))[counts > 0]


def held_out_windows(folder: Path, chunk_length: int) -> Windows:
    """Return consecutive chunks of held-out episodes.

    Args:
        folder: the held-out part of a dataset, itself a dataset folder.

    Raises:
        UsageError: there are no held-out episodes, or none is as long as a chunk.
    """
    if not (folder / INFO_FILE).exists():
        raise UsageError(
            f"{folder} has no held-out episodes: record at least two episodes, and ingest them "
            "again"
        )
    held_out = open_dataset(folder)
    ends = np.flatnonzero(held_out.terminals) + 1
    starts = np.concatenate([[0], ends[:-1]])
    firsts = [
        np.arange(start, end - chunk_length + 1, chunk_length)
        for start, end in zip(starts, ends, strict=True)
    ]
    first_W = np.concatenate(firsts)
    if not len(first_W):
        raise UsageError(
            f"{folder}: no held-out episode has {chunk_length} steps, the actions of a "
            "chunk: record longer episodes, or lower --train.backup-horizon"
        )
    episode_W = np.repeat(np.arange(len(firsts)), list(map(len, firsts)))
    if len(first_W) > _MAX_WINDOWS:
        chosen = np.linspace(0, len(first_W) - 1, _MAX_WINDOWS).astype(int)
        first_W, episode_W = first_W[chosen], episode_W[chosen]
    return Windows(
        observations_WO=np.asarray(held_out.observations[held_out.observation_index[first_W]]),
        chunks_WHA=np.asarray(held_out.actions[first_W[:, None] + np.arange(chunk_length)]),
        episode_W=episode_W,
    )


def log_likelihoods(policy: ChunkFunction, windows: Windows, low_A: Any, high_A: Any) -> np.ndarray:
    """Return the log-density of the recorded chunks per number, a mean for each episode.

    Args:
        low_A, high_A: bounds of the actions.
    """
    rng = np.random.default_rng(NOISE_SEED)
    half_A = np.maximum((np.asarray(high_A) - np.asarray(low_A)) / 2, 1e-6)
    count, numbers = len(windows.observations_WO), windows.chunks_WHA[0].size
    squares_NW = np.empty((_SAMPLES, count))
    for squares_W in squares_NW:
        noise = rng.standard_normal((count, *policy.noise_shape), dtype=np.float32)
        chunk_WHA = policy(windows.observations_WO, noise)
        squares_W[:] = np.square((chunk_WHA - windows.chunks_WHA) / half_A).sum(axis=(1, 2))
    kernel_NW = -squares_NW / (2 * _BANDWIDTH**2)
    density_W = logsumexp(kernel_NW, axis=0) - np.log(_SAMPLES)
    normaliser = np.log(_BANDWIDTH * np.sqrt(2 * np.pi))
    return windows.per_episode(density_W / numbers - normaliser)

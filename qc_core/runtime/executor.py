"""Executes chunks open loop.

Shapes: B batch, O observation, H actions per chunk, K actions of a chunk to execute, A action.
"""

from __future__ import annotations

from collections import deque
from numbers import Integral
from typing import Protocol

import numpy as np

from qc_core.errors import UsageError


class ChunkFunction(Protocol):
    """A policy that returns chunks of actions and gets its noise as an argument."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise of one observation."""
        ...

    @property
    def execution_horizon(self) -> int:
        """Actions of a chunk to execute before the policy is asked again (K)."""
        ...

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray, /) -> np.ndarray:
        """Map observation [B, O] and noise [B, *noise_shape] to a chunk [B, H, A] within bounds."""
        ...


def require_execution_horizon(steps: int, chunk_length: int) -> int:
    """Return `steps` if a chunk has so many actions (UsageError: not in [1, chunk_length])."""
    if not isinstance(steps, Integral) or not 1 <= steps <= chunk_length:
        raise UsageError(
            f"the execution horizon must be in [1, {chunk_length}], the policy's actions per "
            f"chunk, got {steps!r}"
        )
    return steps


class ChunkExecutor:
    """Returns one action at a time from a policy that returns chunks.

    The executor asks the policy for a chunk when no action is pending, and executes the first
    `execution_horizon` actions of it. Observations in between are not used.
    """

    def __init__(self, policy: ChunkFunction, rng: np.random.Generator) -> None:
        self._policy = policy
        self._rng = rng
        self._pending: deque[np.ndarray] = deque()

    def reset(self, rng: np.random.Generator | None = None) -> None:
        """Start a new episode: drop pending actions and, if given, draw noise from `rng`."""
        self._pending.clear()
        self._rng = rng or self._rng

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """Return the next action [A] for the observation [O]."""
        if not self._pending:
            self._pending.extend(self.choose(observation_O))
        return self._pending.popleft()

    def choose(self, observation_O: np.ndarray) -> np.ndarray:
        """Return the next actions [K, A] for the observation [O]."""
        noise = self._rng.standard_normal((1, *self._policy.noise_shape), dtype=np.float32)
        chunk_HA = self._policy(observation_O[None].astype(np.float32), noise)[0]
        return chunk_HA[: self._policy.execution_horizon]

"""Play chunks open loop.

Shapes: B batch, O observation, H horizon, K actions to play, A action.
"""

from __future__ import annotations

from collections import deque
from numbers import Integral
from typing import Protocol

import numpy as np

from qc_core.errors import UsageError


class ChunkFunction(Protocol):
    """A policy over chunks: pure, with its noise as an argument."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise of one observation."""
        ...

    @property
    def execution_horizon(self) -> int:
        """Actions of a chunk to play before asking again."""
        ...

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray, /) -> np.ndarray:
        """([B, O], [B, *noise_shape]) → chunk [B, H, A] within the action bounds."""
        ...


def require_execution_horizon(actions: int, horizon: int) -> int:
    """Return how many actions of a chunk of `horizon` to play (UsageError: not in [1, horizon])."""
    if not isinstance(actions, Integral) or not 1 <= actions <= horizon:
        raise UsageError(
            f"the execution horizon must be in [1, {horizon}], the policy's actions per chunk, "
            f"got {actions!r}"
        )
    return actions


class ChunkExecutor:
    """One action at a time from a policy that thinks in chunks.

    The policy's `execution_horizon` actions of a chunk are played without looking; then, or
    after `reset`, it is asked again. It is never asked while actions are pending.
    """

    def __init__(self, policy: ChunkFunction, rng: np.random.Generator) -> None:
        self._policy = policy
        self._rng = rng
        self._pending: deque[np.ndarray] = deque()

    def reset(self, rng: np.random.Generator | None = None) -> None:
        """Drop what is pending: a new episode begins, with noise from `rng` if it is given."""
        self._pending.clear()
        self._rng = rng or self._rng

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """The next action [A] for the observation [O]."""
        if not self._pending:
            self._pending.extend(self.choose(observation_O))
        return self._pending.popleft()

    def choose(self, observation_O: np.ndarray) -> np.ndarray:
        """The next actions [K, A], which the caller is to play without looking."""
        noise = self._rng.standard_normal((1, *self._policy.noise_shape), dtype=np.float32)
        chunk_HA = self._policy(observation_O[None].astype(np.float32), noise)[0]
        return chunk_HA[: self._policy.execution_horizon]

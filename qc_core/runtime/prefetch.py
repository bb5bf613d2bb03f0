"""Executes chunks without pauses: computes the next chunk while the current one runs.

Shapes: O observation, H actions per chunk, K actions of a chunk to execute, A action.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from numbers import Integral, Real
from threading import TIMEOUT_MAX

import numpy as np

from qc_core.errors import RunError, UsageError
from qc_core.runtime.executor import ChunkFunction


class ChunkLate(RunError):
    """The next chunk is not ready, so there is no action. The next `act` checks again."""


def require_prefetch(steps: int, execution_horizon: int, chunk_length: int) -> int:
    """Return `steps` if the next chunk can be requested so many control steps ahead.

    A chunk that is requested `steps` ahead has `chunk_length - steps` actions left to execute.
    The chunk after it must be requested `steps` before these end.

    Raises:
        UsageError: not in [0, min(execution_horizon, chunk_length // 2)].
    """
    limit = min(execution_horizon, chunk_length // 2)
    if not isinstance(steps, Integral) or not 0 <= steps <= limit:
        raise UsageError(
            f"prefetch must be in [0, {limit}] control steps for a policy that executes "
            f"{execution_horizon} of {chunk_length} actions per chunk, got {steps!r}"
        )
    return steps


def require_timeout(seconds: float | None, prefetch: int) -> None:
    """Refuse a timeout that is out of range or given without prefetch (UsageError)."""
    if seconds is None:
        return
    if not prefetch or not isinstance(seconds, Real) or not 0 <= seconds <= TIMEOUT_MAX:
        raise UsageError(
            f"timeout is for a late chunk: seconds from 0 to {TIMEOUT_MAX:.0e}, with prefetch, "
            f"got {seconds!r} with prefetch {prefetch}"
        )


@dataclass(slots=True)
class _Request:
    """A chunk that is being computed.

    Attributes:
        age: actions executed since the observation of this chunk.
    """

    chunk_HA: Future[np.ndarray]
    age: int = 0


class PrefetchingExecutor:
    """Returns one action at a time and computes the next chunk in another thread.

    Action i of a chunk is for i control steps after its observation. The executor requests the
    next chunk `lead` steps before the current one ends. The new chunk starts at its action `lead`,
    because the earlier actions are for steps in the past; executing them would repeat what the
    robot has already done. The executor requests a chunk every min(K, H - lead) steps. Time is
    counted in executed actions, not in seconds, so a slow policy returns the same actions.

    After `reset`, nothing is pending. `act` then waits for the first chunk, which starts at
    action 0.
    """

    def __init__(
        self,
        policy: ChunkFunction,
        rng: np.random.Generator,
        *,
        lead: int,
        chunk_length: int,
        timeout: float | None = None,
    ) -> None:
        """
        Args:
            lead: control steps, in [1, min(K, H // 2)].
            chunk_length: actions per chunk (H).
            timeout: seconds that `act` waits for a late chunk; None waits until it is ready.
        """
        self._policy, self._rng, self._lead = policy, rng, lead
        # The next chunk replaces a chunk before this action.
        self._end = min(policy.execution_horizon + lead, chunk_length)
        self._timeout = timeout
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chunk-prefetch")
        self._pending: deque[np.ndarray] = deque()
        self._next: _Request | None = None
        self._started = False

    def reset(self, rng: np.random.Generator | None = None) -> None:
        """Start a new episode: drop pending actions and the chunk that is being computed.

        An inference that is already running finishes, and its result is dropped.
        """
        if self._next is not None:
            self._next.chunk_HA.cancel()
        self._next = None
        self._pending.clear()
        self._started = False
        self._rng = rng or self._rng

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """Return the next action [A] for the observation [O].

        Raises:
            ChunkLate: the next chunk is not ready after `timeout`; this also applies to a chunk
                that this call requests because the previous request failed.
            Exception: the exception of the policy in its thread; the next `act` asks again.
        """
        if self._next is not None and self._next.chunk_HA.done():
            self._result(self._next)
        if not self._pending:
            self._start_next(observation_O)
        if self._next is None and len(self._pending) <= self._lead:
            self._next = self._ask(observation_O)
        if self._next is not None:
            self._next.age += 1
        return self._pending.popleft()

    def close(self) -> None:
        """End the thread after the inference that is running."""
        self.reset()
        self._worker.shutdown()

    def _ask(self, observation_O: np.ndarray) -> _Request:
        # Drawn in this thread, so that the noise does not depend on timing.
        noise = self._rng.standard_normal((1, *self._policy.noise_shape), dtype=np.float32)
        # A copy, because the caller may write the next observation into the same memory.
        observation_BO = observation_O[None].astype(np.float32)
        return _Request(self._worker.submit(lambda: self._policy(observation_BO, noise)[0]))

    def _start_next(self, observation_O: np.ndarray) -> None:
        if self._next is None:
            self._next = self._ask(observation_O)
        request = self._next
        wait([request.chunk_HA], self._timeout if self._started else None)
        if not request.chunk_HA.done():
            raise ChunkLate(
                f"the next chunk is late: it was asked for {request.age} actions ago and is not "
                f"ready after another {self._timeout:g} s; hold the robot and call act again"
            )
        self._pending.extend(self._result(request)[request.age : self._end])
        self._next = None
        self._started = True

    def _result(self, request: _Request) -> np.ndarray:
        try:
            return request.chunk_HA.result()
        except BaseException:
            self._next = None
            raise

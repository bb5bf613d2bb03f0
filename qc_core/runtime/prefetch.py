"""Play chunks without waiting for them: the next is computed while the last one plays.

Shapes: O observation, H horizon, K actions to play, A action.
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
    """The next chunk is not there yet and there is no action; the next `act` looks again."""


def require_prefetch(steps: int, actions: int, horizon: int) -> int:
    """Return how many control steps ahead to ask for the next chunk.

    A chunk that is asked for `steps` ahead has `horizon - steps` actions left to play, and while
    they play the one after it must be asked for as far ahead.

    Args:
        actions: of a chunk, to play before asking again.

    Raises:
        UsageError: not in [0, min(actions, horizon // 2)].
    """
    most = min(actions, horizon // 2)
    if not isinstance(steps, Integral) or not 0 <= steps <= most:
        raise UsageError(
            f"prefetch must be in [0, {most}] control steps for a policy that plays {actions} of "
            f"{horizon} actions per chunk, got {steps!r}"
        )
    return steps


def require_timeout(seconds: float | None, prefetch: int) -> None:
    """Refuse a timeout that no thread can wait for, or one without prefetch (UsageError)."""
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
        age: actions played since its observation was taken.
    """

    chunk_HA: Future[np.ndarray]
    age: int = 0


class PrefetchingExecutor:
    """One action at a time; a thread of its own asks the policy.

    A chunk belongs to the moment of its observation: its action i is for i control steps later.
    The next chunk is asked for with the observation seen `lead` steps before the last action of
    this one ends, and takes over with its action `lead`: those before it are for moments that are
    past. Played from its beginning it would repeat what the robot has done meanwhile. So a chunk
    is asked for every min(K, H - lead) steps. Moments are counted in actions played, not in
    seconds: the actions are the same whether the policy is quick or late.

    Nothing is pending after `reset`; then `act` waits for the first chunk, whose actions are
    played from 0 on.
    """

    def __init__(
        self,
        policy: ChunkFunction,
        rng: np.random.Generator,
        *,
        lead: int,
        horizon: int,
        timeout: float | None = None,
    ) -> None:
        """
        Args:
            lead: control steps, in [1, min(K, H // 2)].
            timeout: seconds that `act` waits for a chunk that is late; None waits until it is
                there.
        """
        self._policy, self._rng, self._lead = policy, rng, lead
        # The action of a chunk before which the next one takes over.
        self._end = min(policy.execution_horizon + lead, horizon)
        self._timeout = timeout
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chunk-prefetch")
        self._pending: deque[np.ndarray] = deque()
        self._next: _Request | None = None
        self._begun = False

    def reset(self, rng: np.random.Generator | None = None) -> None:
        """Drop what is pending or being computed: a new episode begins.

        An inference that has begun ends by itself and is not heard of.
        """
        if self._next is not None:
            self._next.chunk_HA.cancel()
        self._next = None
        self._pending.clear()
        self._begun = False
        self._rng = rng or self._rng

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """The next action [A] for the observation [O].

        Raises:
            ChunkLate: the next chunk is not there after `timeout`, also one that was asked for only
                now because the last one failed.
            Exception: what the policy raised in its thread; it is asked again by the next `act`.
        """
        if self._next is not None and self._next.chunk_HA.done():
            self._result(self._next)
        if not self._pending:
            self._take_over(observation_O)
        if self._next is None and len(self._pending) <= self._lead:
            self._next = self._ask(observation_O)
        if self._next is not None:
            self._next.age += 1
        return self._pending.popleft()

    def close(self) -> None:
        """End the thread, after the inference that has begun."""
        self.reset()
        self._worker.shutdown()

    def _ask(self, observation_O: np.ndarray) -> _Request:
        # Drawn here, so that noise does not depend on when the thread comes to it.
        noise = self._rng.standard_normal((1, *self._policy.noise_shape), dtype=np.float32)
        # A copy: the caller may write the next observation into the same memory.
        observation_BO = observation_O[None].astype(np.float32)
        return _Request(self._worker.submit(lambda: self._policy(observation_BO, noise)[0]))

    def _take_over(self, observation_O: np.ndarray) -> None:
        if self._next is None:
            self._next = self._ask(observation_O)
        request = self._next
        wait([request.chunk_HA], self._timeout if self._begun else None)
        if not request.chunk_HA.done():
            raise ChunkLate(
                f"the next chunk is late: it was asked for {request.age} actions ago and is not "
                f"there after {self._timeout:g} s more; hold the robot and call act again"
            )
        self._pending.extend(self._result(request)[request.age : self._end])
        self._next = None
        self._begun = True

    def _result(self, request: _Request) -> np.ndarray:
        try:
            return request.chunk_HA.result()
        except BaseException:
            self._next = None
            raise

"""A chunk policy in onnxruntime.

Shapes: B batch, O observation, H horizon, A action.
"""

from __future__ import annotations

import math
import os
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.contract import require_same
from qc_core.policy_format.policy_folder import MODEL, read_contract, verify
from qc_core.runtime.executor import ChunkExecutor, require_execution_horizon
from qc_core.runtime.prefetch import PrefetchingExecutor, require_prefetch, require_timeout
from qc_core.runtime.session import BoundSession

# By what share of a bound float32 may pass it.
_ROUNDING = 1e-5


class ChunkPolicy:
    """Observations in, chunks of actions out, both in the environment's own units.

    `act` and `reset` are for one thread, that of the control loop; `chunk` is for any.

    Attributes:
        contract: what `policy.json` says of sizes, names, bounds and provenance.
        observation_size, action_size: O and A.
        noise_shape: of the standard normal noise of one observation.
        execution_horizon: actions to play of a chunk before asking again.
        provider: what computes: `cpu`, `cuda` or `tensorrt`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int | None = None,
        threads: int | None = None,
        execution_horizon: int | None = None,
        prefetch: int = 0,
        timeout: float | None = None,
        provider: str | None = None,
    ) -> None:
        """Open a policy folder; `load` explains the arguments and also takes names."""
        verify(folder)
        self.contract: dict[str, Any] = read_contract(folder)
        self.observation_size = len(self.contract["observation"]["names"])
        self.action_size = len(self.contract["action"]["names"])
        self.noise_shape: tuple[int, ...] = tuple(self.contract["noise"]["shape"])
        horizon: int = self.contract["horizon"]
        self.execution_horizon = require_execution_horizon(
            self.contract["execution-length"] if execution_horizon is None else execution_horizon,
            horizon,
        )
        require_prefetch(prefetch, self.execution_horizon, horizon)
        require_timeout(timeout, prefetch)
        self._rng = _generator(seed)
        if threads is None:
            several = len(self.noise_shape) > 1
            threads = min(2, os.cpu_count() or 1) if several else 1
        if not isinstance(threads, Integral) or threads < 1:
            raise UsageError(f"threads must be an integer from 1 on, got {threads!r}")
        self._session = BoundSession(folder / MODEL, threads, provider)
        require_same(self._session, self.contract, str(folder / MODEL))
        self.provider = self._session.provider
        low_A, high_A = (np.asarray(self.contract["action"][end]) for end in ("low", "high"))
        slack_A = _ROUNDING * np.maximum(np.abs(low_A), np.abs(high_A))
        # Of a whole chunk's form: NumPy compares such arrays faster.
        self._low_HA = np.tile((low_A - slack_A).astype(np.float32), (horizon, 1))
        self._high_HA = np.tile((high_A + slack_A).astype(np.float32), (horizon, 1))
        self._closed = False
        self._executor: ChunkExecutor | PrefetchingExecutor
        if prefetch:
            self._executor = PrefetchingExecutor(
                self, self._rng, lead=prefetch, horizon=horizon, timeout=timeout
            )
        else:
            self._executor = ChunkExecutor(self, self._rng)

    @classmethod
    def load(
        cls,
        policy: str | Path,
        *,
        seed: int | None = None,
        threads: int | None = None,
        execution_horizon: int | None = None,
        prefetch: int = 0,
        timeout: float | None = None,
        provider: str | None = None,
    ) -> ChunkPolicy:
        """Open a pulled policy folder, or a policy of the store by its name.

        Args:
            policy: a folder; or, where there is none of that name, `NAME`, `NAME@ALIAS` or
                `NAME:VERSION` in the store that `QC_STORE` names. It is looked up there each
                time and kept in `$XDG_CACHE_HOME/q-chunking` (default `~/.cache`).
            seed: of the noise that `act` and `chunk` draw; None takes a fresh one.
            threads: CPU threads of one inference; None takes two to choose among candidates, and
                one for a single pass, which is over before another thread has woken. Two threads
                wait for each other: give one where other work keeps the cores busy.
            execution_horizon: actions to play of a chunk before asking again, in [1, H]; None
                takes the contract's execution length.
            prefetch: control steps ahead at which `act` asks for the next chunk, in another
                thread; 0 asks when it is needed, and waits.
            timeout: seconds that `act` waits for a prefetched chunk that is late; None waits
                until it is there.
            provider: `cpu`, `cuda` or `tensorrt`; None takes CUDA where there is one, else the
                CPU.

        Raises:
            UsageError: no such policy, not a policy, an unknown schema version, an argument outside
                its limits.
            RunError: a policy that is not whole or not what its contract says, a store that does
                not answer, a provider that does not start.
        """
        return cls(
            _folder_of(policy),
            seed=seed,
            threads=threads,
            execution_horizon=execution_horizon,
            prefetch=prefetch,
            timeout=timeout,
            provider=provider,
        )

    def chunk(self, observation_BO: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Chunks for a batch of observations, or for one.

        Args:
            observation_BO: [B, O] or [O], raw units, finite.
            noise: [B, *noise_shape], standard normal; drawn here if not given.

        Returns:
            [B, H, A], or [H, A] for one observation, within the action bounds.

        Raises:
            UsageError: a wrong shape, or an observation or noise that is not finite numbers.
            RunError: the model cannot be run, or gives what is not within the bounds.
        """
        observation = _numbers(observation_BO, "observation")
        single = observation.ndim == 1
        batch_BO = observation[None] if single else observation
        if batch_BO.ndim != 2 or batch_BO.shape[1] != self.observation_size:
            raise UsageError(
                f"the policy takes observations [B, {self.observation_size}], "
                f"got {list(observation.shape)}"
            )
        shape = (len(batch_BO), *self.noise_shape)
        if noise is None:
            noise = self._rng.standard_normal(shape, dtype=np.float32)
        else:
            noise = _numbers(noise, "noise")
            if noise.shape not in (shape, shape[1:] if single else shape):
                raise UsageError(f"the policy takes noise {list(shape)}, got {list(noise.shape)}")
        chunk_BHA = self._session({"observation": batch_BO, "noise": noise.reshape(shape)})
        # NaN is not within them either.
        within_BHA = (chunk_BHA >= self._low_HA) & (chunk_BHA <= self._high_HA)
        if np.count_nonzero(within_BHA) < within_BHA.size:
            raise RunError(
                "the policy answers with NaN or outside its own action bounds: there is no action"
            )
        return chunk_BHA[0] if single else chunk_BHA

    __call__ = chunk

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """The next action [A] for the observation [O] of this control step.

        Without prefetch chunks are played open loop: the policy is asked only when no action is
        pending, and `act` waits for it.

        With a prefetch of d steps the next chunk is computed from the observation seen d steps
        before it takes over, and takes over with its action d, the one for that moment. The first
        chunk after a reset is waited for. After that `act` waits only for a chunk that is late,
        one that took longer than d control steps: for `timeout` seconds, then ChunkLate is raised
        and there is no action; the robot's controller must hold, and the next `act` looks again.
        Lateness changes when an action comes, never which.

        Raises:
            UsageError: as `chunk`, also while actions are pending; what is pending stays.
            ChunkLate: with prefetch and a timeout.
            RunError: the model cannot be run; with prefetch also for a chunk that was asked for
                earlier.
        """
        if self._closed:
            raise UsageError("the policy is closed: load it again")
        observation = _numbers(observation_O, "observation")
        if observation.shape != (self.observation_size,):
            raise UsageError(
                f"act takes one observation [{self.observation_size}], "
                f"got {list(observation.shape)}"
            )
        return self._executor.act(observation)

    def reset(self, seed: int | None = None) -> None:
        """Drop pending actions: a new episode begins.

        Args:
            seed: of the noise from here on; None goes on with the noise that there is.

        Raises:
            UsageError: a seed that is none; what is pending stays.
        """
        if seed is not None:
            self._rng = _generator(seed)
        self._executor.reset(self._rng)

    def close(self) -> None:
        """End the thread that prefetches, if there is one; `act` is refused from here on."""
        self._closed = True
        if isinstance(self._executor, PrefetchingExecutor):
            self._executor.close()

    def __enter__(self) -> ChunkPolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _folder_of(policy: str | Path) -> Path:
    """A path that exists is meant before a name of the store."""
    if isinstance(policy, Path) or os.path.exists(policy):
        return Path(policy)
    from qc_core.registry.cache import cached_policy

    return cached_policy(policy)


def _generator(seed: int | None) -> np.random.Generator:
    if seed is not None and (not isinstance(seed, Integral) or seed < 0):
        raise UsageError(f"the seed must be an integer from 0 on, got {seed!r}")
    return np.random.default_rng(seed)


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    """float32 of finite real numbers (UsageError: anything else)."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UsageError(f"the {what} must be one array of numbers: {error}") from error
    if array.dtype != np.float32:
        if array.dtype.kind not in "fiu":
            raise UsageError(f"the {what} must be real numbers, got {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    # One call, and finite only if all numbers are; huge ones need a second look.
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
        raise UsageError(f"the {what} holds NaN or infinity")
    return array

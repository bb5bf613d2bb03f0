"""The policy that a robot runs: an exported chunk policy in onnxruntime.

Shapes: B batch, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

import math
import os
from numbers import Integral
from pathlib import Path

import numpy as np

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.contract import require_same
from qc_core.policy_format.policy_folder import MODEL, read_contract, verify
from qc_core.runtime.executor import ChunkExecutor, require_execution_horizon
from qc_core.runtime.prefetch import PrefetchingExecutor, require_prefetch, require_timeout
from qc_core.runtime.session import BoundSession

# Relative error by which a float32 action may exceed its bound.
_ROUNDING = 1e-5


class ChunkPolicy:
    """Maps observations to chunks of actions, both in the environment's units.

    Call `act` and `reset` only from the thread of the control loop. Call `chunk` from any thread.

    Attributes:
        contract: the content of `policy.json`: sizes, names, bounds and provenance.
        observation_size, action_size: O and A.
        noise_shape: shape of the standard normal noise of one observation.
        execution_horizon: actions of a chunk to execute before the next chunk is computed.
        provider: the execution provider in use: `cpu`, `cuda` or `tensorrt`.
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
        """Open a policy folder; `load` explains the arguments and also accepts names."""
        verify(folder)
        self.contract = read_contract(folder)
        self.observation_size = self.contract.observation_size
        self.action_size = self.contract.action_size
        self.noise_shape = self.contract.noise.shape
        chunk_length = self.contract.chunk_length
        self.execution_horizon = require_execution_horizon(
            self.contract.execution_horizon if execution_horizon is None else execution_horizon,
            chunk_length,
        )
        require_prefetch(prefetch, self.execution_horizon, chunk_length)
        require_timeout(timeout, prefetch)
        self._rng = _generator(seed)
        if threads is None:
            has_samples = len(self.noise_shape) > 1
            threads = min(2, os.cpu_count() or 1) if has_samples else 1
        if not isinstance(threads, Integral) or threads < 1:
            raise UsageError(f"threads must be an integer from 1 on, got {threads!r}")
        self._session = BoundSession(folder / MODEL, threads, provider)
        require_same(self._session, self.contract, str(folder / MODEL))
        self.provider = self._session.provider
        action = self.contract.action
        low_A, high_A = np.asarray(action.low), np.asarray(action.high)
        slack_A = _ROUNDING * np.maximum(np.abs(low_A), np.abs(high_A))
        # NumPy compares arrays of equal shape faster, so the bounds are repeated for each action.
        self._low_HA = np.tile((low_A - slack_A).astype(np.float32), (chunk_length, 1))
        self._high_HA = np.tile((high_A + slack_A).astype(np.float32), (chunk_length, 1))
        self._closed = False
        self._executor: ChunkExecutor | PrefetchingExecutor
        if prefetch:
            self._executor = PrefetchingExecutor(
                self, self._rng, lead=prefetch, chunk_length=chunk_length, timeout=timeout
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
            policy: a folder; if no folder has this name, `NAME`, `NAME@ALIAS` or `NAME:VERSION`
                in the store `QC_STORE`. Each call looks the name up in the store. Downloads are
                cached in `$XDG_CACHE_HOME/q-chunking` (default `~/.cache`).
            seed: seed of the noise that `act` and `chunk` draw; None uses a random one.
            threads: CPU threads of one inference. None uses two for a best-of-N policy and one
                for other policies, whose inference is too short for a second thread. Use one if
                other work keeps the cores busy, because two threads wait for each other.
            execution_horizon: actions of a chunk to execute before the next chunk is computed,
                in [1, H]; None uses the contract's execution horizon.
            prefetch: number of control steps ahead at which `act` requests the next chunk in
                another thread; 0 computes it when it is needed, and waits.
            timeout: seconds that `act` waits for a late prefetched chunk; None waits until it
                is ready.
            provider: `cpu`, `cuda` or `tensorrt`; None uses CUDA if available, else the CPU.

        Raises:
            UsageError: no such policy, not a policy, an unknown schema version, or an argument
                outside its limits.
            RunError: the policy is incomplete or does not match its contract, the store does not
                answer, or the provider does not start.
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
        """Return chunks of actions for a batch of observations or for one observation.

        Args:
            observation_BO: [B, O] or [O], raw units, finite.
            noise: [B, *noise_shape], standard normal; None draws it.

        Returns:
            [B, H, A], or [H, A] for one observation, within the action bounds.

        Raises:
            UsageError: a wrong shape, or an observation or noise that is not finite numbers.
            RunError: the model fails, or returns actions outside the bounds.
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
        # Comparisons with NaN are false.
        within_BHA = (chunk_BHA >= self._low_HA) & (chunk_BHA <= self._high_HA)
        if np.count_nonzero(within_BHA) < within_BHA.size:
            raise RunError(
                "the policy returned NaN or actions outside its own action bounds: "
                "there is no action"
            )
        return chunk_BHA[0] if single else chunk_BHA

    __call__ = chunk

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """Return the next action [A] for the observation [O] of this control step.

        Without prefetch, chunks are executed open loop: `act` computes a chunk when no action is
        pending, and waits for it.

        With a prefetch of d steps, `act` requests the next chunk d steps before the current one
        ends, and starts it at its action d, which is the action for that moment. `act` waits for
        the first chunk after a reset. Later it waits only for a late chunk, one that takes longer
        than d control steps. After `timeout` seconds it raises ChunkLate and returns no action:
        the robot's controller must hold, and the next `act` checks again. A late chunk delays
        actions but does not change them.

        Raises:
            UsageError: as `chunk`, also while actions are pending; pending actions remain.
            ChunkLate: with prefetch and a timeout.
            RunError: the model fails; with prefetch also for a chunk that was requested earlier.
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
        """Start a new episode: drop pending actions.

        Args:
            seed: new seed of the noise; None continues the current random sequence.

        Raises:
            UsageError: an invalid seed; pending actions remain.
        """
        if seed is not None:
            self._rng = _generator(seed)
        self._executor.reset(self._rng)

    def close(self) -> None:
        """End the prefetching thread, if any. After that, `act` raises UsageError."""
        self._closed = True
        if isinstance(self._executor, PrefetchingExecutor):
            self._executor.close()

    def __enter__(self) -> ChunkPolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _folder_of(policy: str | Path) -> Path:
    """Return the folder of a policy; an existing path takes precedence over a name."""
    if isinstance(policy, Path) or os.path.exists(policy):
        return Path(policy)
    from qc_core.registry.cache import cached_policy

    return cached_policy(policy)


def _generator(seed: int | None) -> np.random.Generator:
    if seed is not None and (not isinstance(seed, Integral) or seed < 0):
        raise UsageError(f"the seed must be an integer from 0 on, got {seed!r}")
    return np.random.default_rng(seed)


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    """Return finite real numbers as a float32 array (UsageError: anything else)."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UsageError(f"the {what} must be one array of numbers: {error}") from error
    if array.dtype != np.float32:
        if array.dtype.kind not in "fiu":
            raise UsageError(f"the {what} must be real numbers, got {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    # The dot product is one fast call. It overflows for huge numbers, which need the slow check.
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
        raise UsageError(f"the {what} holds NaN or infinity")
    return array

"""A chunk policy in onnxruntime.

Shapes: B batch, O observation, H horizon, A action.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.errors import WrongUse
from qc_core.runtime.executor import ChunkExecutor, require_execution_length
from qc_core.runtime.folder import MODEL, read_contract, verify
from qc_core.runtime.session import BoundSession


class ChunkPolicy:
    """Observations in, chunks of actions out, both in the environment's own units.

    Attributes:
        contract: what `policy.json` says of sizes, names, bounds and provenance.
        execution_length: actions to play of a chunk before asking again.
        device: where it computes, `cuda` if onnxruntime has it, else `cpu`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int | None = None,
        threads: int | None = None,
        execution_horizon: int | None = None,
    ) -> None:
        """Open a policy folder whose checksums are right.

        Args:
            seed: of the noise that `act` draws; None takes a fresh one.
            threads: CPU threads of one inference; None takes two to choose among candidates, and
                one for a single pass, which is over before another thread has woken. Two threads
                wait for each other: give one where other work keeps the cores busy.
            execution_horizon: actions to play of a chunk before asking again, in [1, H]; None
                takes the contract's execution length.
        """
        verify(folder)
        self.contract: dict[str, Any] = read_contract(folder)
        self.execution_length = require_execution_length(
            self.contract["execution-length"] if execution_horizon is None else execution_horizon,
            self.contract["horizon"],
        )
        if threads is None:
            several = len(self.noise_shape) > 1
            threads = min(2, os.cpu_count() or 1) if several else 1
        self._session = BoundSession(folder / MODEL, threads)
        self.device = self._session.device
        self._rng = np.random.default_rng(seed)
        self._executor = ChunkExecutor(self, self._rng)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        seed: int | None = None,
        threads: int | None = None,
        execution_horizon: int | None = None,
    ) -> ChunkPolicy:
        """Open a pulled policy folder (WrongUse or WorkFailed if it is not whole)."""
        return cls(Path(folder), seed=seed, threads=threads, execution_horizon=execution_horizon)

    @property
    def observation_size(self) -> int:
        return len(self.contract["observation"]["names"])

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return tuple(self.contract["noise"]["shape"])

    def chunk(self, observation_BO: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Chunks for a batch of observations, or for one.

        Args:
            observation_BO: [B, O] or [O], raw units, finite.
            noise: [B, *noise_shape], standard normal; drawn here if not given.

        Returns:
            [B, H, A], or [H, A] for one observation, clipped to the action bounds.

        Raises:
            WrongUse: a wrong shape, or an observation or noise that is not finite.
        """
        observation = np.asarray(observation_BO, np.float32)
        single = observation.ndim == 1
        batch_BO = observation[None] if single else observation
        if batch_BO.ndim != 2 or batch_BO.shape[1] != self.observation_size:
            raise WrongUse(
                f"the policy takes observations [B, {self.observation_size}], "
                f"got {list(np.shape(observation_BO))}"
            )
        shape = (len(batch_BO), *self.noise_shape)
        if noise is None:
            noise = self._rng.standard_normal(shape, dtype=np.float32)
        elif np.shape(noise) not in (shape, shape[1:] if single else shape):
            raise WrongUse(f"the policy takes noise {list(shape)}, got {list(np.shape(noise))}")
        noise = np.asarray(noise, np.float32).reshape(shape)
        for what, values in (("observation", batch_BO), ("noise", noise)):
            if not np.isfinite(values).all():
                raise WrongUse(f"the {what} holds NaN or infinity")
        chunk_BHA = self._session({"observation": batch_BO, "noise": noise})
        return chunk_BHA[0] if single else chunk_BHA

    __call__ = chunk

    def act(self, observation_O: np.ndarray) -> np.ndarray:
        """The next action [A]; the policy is asked only when no action is pending.

        Raises:
            WrongUse: as `chunk`, the shape also while actions are pending.
        """
        observation = np.asarray(observation_O, np.float32)
        if observation.shape != (self.observation_size,):
            raise WrongUse(
                f"act takes one observation [{self.observation_size}], "
                f"got {list(np.shape(observation_O))}"
            )
        return self._executor.act(observation)

    def reset(self) -> None:
        """Drop pending actions: a new episode begins."""
        self._executor.reset()

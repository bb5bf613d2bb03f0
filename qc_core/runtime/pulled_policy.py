"""A policy folder that worker processes open."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from qc_core.runtime.policy import ChunkPolicy


@dataclass(frozen=True)
class PulledPolicy:
    """Opens a policy folder in the process that calls it.

    Attributes:
        execution_horizon: actions of a chunk to execute; None uses the contract's.
    """

    folder: Path
    execution_horizon: int | None = None

    def __call__(self) -> ChunkPolicy:
        # There is one worker process per core, so each gets one thread.
        threads = None if parent_process() is None else 1
        return ChunkPolicy.load(
            self.folder, threads=threads, execution_horizon=self.execution_horizon
        )

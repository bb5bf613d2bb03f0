"""Opens a pulled policy in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from qc_core.runtime.policy import ChunkPolicy


@dataclass(frozen=True)
class PulledPolicy:
    """Opens a policy folder wherever it is called, for worker processes."""

    folder: Path
    execution_horizon: int | None = None

    def __call__(self) -> ChunkPolicy:
        # One worker process per core: none may take the others'.
        threads = None if parent_process() is None else 1
        return ChunkPolicy.load(
            self.folder, threads=threads, execution_horizon=self.execution_horizon
        )

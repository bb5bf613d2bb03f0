"""The policy of a checkpoint, which workers load. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qc_core.training.policy import AgentPolicy, PolicyKind


@dataclass(frozen=True)
class CheckpointPolicy:
    """Loads a checkpoint's policy in the process that calls it, such as a worker.

    Who starts forked workers for it calls `processes.preload("torch")` before.
    """

    checkpoint: Path
    kind: PolicyKind
    execution_horizon: int = 0

    def __call__(self) -> AgentPolicy:
        import torch

        from qc_core.training.policy import AgentPolicy
        from qc_core.training.saved_agent import load_acting_agent

        if parent_process() is not None:
            # There is one worker process for each core.
            torch.set_num_threads(1)
        agent = load_acting_agent(self.checkpoint, torch.device("cpu"))
        return AgentPolicy(agent, self.kind, execution_horizon=self.execution_horizon)

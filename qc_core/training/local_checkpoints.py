"""What a training keeps beside its output while it works, to go on from when it is broken off.

`OUTPUT.partial` holds one checkpoint, `checkpoint-STEP`, with its training state. A newer one is
whole before the older one goes, and the folder goes once the output is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import UsageError
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint
from qc_core.training.checkpoint_store import CheckpointSchedule

_PREFIX = "checkpoint-"


class LocalCheckpointStore:
    """The checkpoint of a training that is going on, or that was broken off.

    Args:
        output: what the training writes in the end.

    Attributes:
        checkpoint: to go on from, None where there is none yet.
        pace: when to keep another.

    Raises:
        UsageError: in the place of the folder is something else.
    """

    def __init__(self, output: Path) -> None:
        output = output.resolve()
        self.folder = output.with_name(f"{output.name}.partial")
        if self.folder.exists():
            self._require_own()
        found = [path for path in self.folder.glob(f"{_PREFIX}*") if _step_of(path).isdecimal()]
        self.checkpoint = max(found, key=lambda path: int(_step_of(path)), default=None)
        self.pace = CheckpointSchedule()

    @property
    def place(self) -> str:
        """Where it is kept, for people."""
        return str(self.folder)

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of the last one; without room, training goes on.

        Args:
            state: what the training goes on from, beside the agent and the curve.
        """
        target = self.folder / f"{_PREFIX}{info.offline_steps + info.online_steps}"
        with self.pace.keeping("the training"):
            save_checkpoint(target, agent, info, curve, state)
            self.checkpoint = target
            for other in self.folder.iterdir():
                # Also what a process left that ended while it wrote.
                if other != target:
                    shutil.rmtree(other)

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _require_own(self) -> None:
        own = self.folder.is_dir() and all(
            path.is_dir() and path.name.removeprefix(".").startswith(_PREFIX)
            for path in self.folder.iterdir()
        )
        if not own:
            raise UsageError(
                f"{self.folder} is where a training keeps its progress, and it holds something "
                "else: move it away or choose another output"
            )


def _step_of(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix(_PREFIX)

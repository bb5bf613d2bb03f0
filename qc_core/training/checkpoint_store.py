"""The checkpoint store: saves a training's progress, so that it can resume after a crash.

There is one store with two backends, for a folder on this machine and for an object store. They
differ only in where the bytes go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import QCError
from qc_core.log import log
from qc_core.training.checkpoint import Checkpoint, Curve, verify_checkpoint
from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.saved_agent import save_checkpoint


class CheckpointBackend(Protocol):
    """Where the checkpoint folders of one training are stored."""

    @property
    def location(self) -> str:
        """The place of the newest checkpoint, for messages."""
        ...

    def saved(self) -> Iterator[Path]:
        """Yield the complete checkpoints as folders on this machine, newest first.

        Raises:
            RunError: the store does not answer.
        """
        ...

    def put(self, step: int, write: Callable[[Path], None]) -> None:
        """Store a checkpoint atomically, then remove all older ones except the newest of them.

        Args:
            step: the training's step; newer checkpoints have higher steps.
            write: writes the checkpoint to a new folder.
        """
        ...

    def remove(self) -> None:
        """Remove all checkpoints of the training."""
        ...


class CheckpointStore:
    """Saves the newest checkpoint of one training, and the one before it.

    A checkpoint whose checksums are wrong is logged, and the one before it is used.

    Args:
        name: the training, for messages.
        before_save: called with each checkpoint before it is saved; what it raises ends the
            training.

    Attributes:
        newest: folder of the last undamaged checkpoint that an earlier process saved; if all are
            damaged, of the last one; None without one.
        schedule: when the next checkpoint is due.
        has_checkpoint: whether a checkpoint is stored.

    Raises:
        RunError: the store does not answer.
    """

    def __init__(
        self,
        backend: CheckpointBackend,
        name: str,
        before_save: Callable[[Checkpoint], None] | None = None,
    ) -> None:
        self._backend, self.name, self._before_save = backend, name, before_save
        self.newest = self._newest()
        self.has_checkpoint = self.newest is not None
        self.schedule = CheckpointSchedule()

    @property
    def location(self) -> str:
        """The place of the newest checkpoint, for messages."""
        return self._backend.location

    def save(
        self,
        agent: Agent,
        checkpoint: Checkpoint,
        curve: Curve,
        state: Mapping[str, Tensor] | None,
    ) -> None:
        """Save a checkpoint.

        Args:
            state: what the training resumes from, besides agent and curve; None if it has ended.

        Raises:
            QCError, OSError: the checkpoint cannot be stored; the previous one is intact.
        """

        def write(folder: Path) -> None:
            save_checkpoint(folder, agent, checkpoint, curve, state)

        if self._before_save is not None:
            self._before_save(checkpoint)
        with self.schedule.saving():
            self._backend.put(checkpoint.offline_steps + checkpoint.online_steps, write)
        self.has_checkpoint = True

    def try_save(
        self, agent: Agent, checkpoint: Checkpoint, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """As `save`, but a checkpoint that cannot be stored is only logged: training continues."""
        try:
            self.save(agent, checkpoint, curve, state)
        except (QCError, OSError) as error:
            log.info(f"{self.name} continues without a new checkpoint, saving failed: {error}")

    def remove(self) -> None:
        """Remove all checkpoints; the training has ended."""
        self._backend.remove()

    def _newest(self) -> Path | None:
        last = None
        for folder in self._backend.saved():
            last = last or folder
            try:
                verify_checkpoint(folder)
            except QCError as error:
                log.info(f"{self.name} does not resume from {folder.name}: {error}")
            else:
                return folder
        return last

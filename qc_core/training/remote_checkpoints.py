"""What a training keeps in a store while it works, so that it outlives its machine.

PREFIX/progress-STEP-ATTEMPT/…  a checkpoint with its training state; the newest, until it has ended

Each attempt writes under a name of its own: one that is wrongly taken for dead and the one that
goes on in its place never write to the same place.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import QCError, RunError
from qc_core.log import log
from qc_core.store.bundle import delete_folder, get_folder, put_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint
from qc_core.training.checkpoint_store import CheckpointSchedule

_PROGRESS = re.compile(r"progress-(\d+)-(.+)")


class RemoteCheckpointStore:
    """One attempt at a training, and what earlier attempts have kept of it.

    Args:
        prefix: of the training in the store, ends in '/'.
        attempt: a name that no other attempt has.
        scratch: a folder of this attempt's own on this machine.
        name: of the training, for people.

    Attributes:
        checkpoint: what an earlier attempt kept last, fetched; None where there is none.
        pace: when to keep another.

    Raises:
        RunError: the store does not answer.
    """

    def __init__(
        self, store: ObjectStore, prefix: str, attempt: str, scratch: Path, name: str
    ) -> None:
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._scratch, self._name, self.pace = scratch, name, CheckpointSchedule()
        self.checkpoint = self._fetch()

    @property
    def place(self) -> str:
        """Where it is kept, for people."""
        return f"{self._prefix} in {self._store.describe()}"

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of older ones; without the store, training goes on.

        Args:
            state: what the training goes on from, beside the agent and the curve.
        """
        own = info.offline_steps + info.online_steps, self._attempt
        folder = self._scratch / "progress"
        with self.pace.keeping(self._name):
            save_checkpoint(folder, agent, info, curve, state)
            put_folder(self._store, self._place_of(*own), folder)
            for older in [place for place in self._kept() if place < own]:
                delete_folder(self._store, self._place_of(*older))
        shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Leave nothing to go on from; where the store does not answer, it stays."""
        with suppress(QCError):
            for step, attempt in self._kept():
                delete_folder(self._store, self._place_of(step, attempt))

    def _kept(self) -> list[tuple[int, str]]:
        """Step and attempt of what is kept, the newest first."""
        found = map(_PROGRESS.fullmatch, self._store.folders(self._prefix))
        return sorted(((int(m[1]), m[2]) for m in found if m), reverse=True)

    def _place_of(self, step: int, attempt: str) -> str:
        return f"{self._prefix}progress-{step}-{attempt}/"

    def _fetch(self) -> Path | None:
        for step, attempt in self._kept():
            target = self._scratch / f"fetched-{step}-{attempt}"
            try:
                get_folder(self._store, self._place_of(step, attempt), target)
            except NoSuchObject:
                # Its attempt ended while it wrote.
                continue
            except RunError as error:
                log.info(f"{self._name} does not go on from step {step:,}: {error}")
                continue
            return target
        return None

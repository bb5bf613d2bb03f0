"""What a study keeps in the store, so that a trial outlives its worker.

studies/STUDY/trial-SLOT/progress-STEP-ATTEMPT/…  to go on from; the newest, while the trial runs
studies/STUDY/trial-SLOT/result-ATTEMPT/…         the checkpoint of an attempt that came to its end

ATTEMPT is the number of Optuna's trial: a worker that is wrongly taken for dead and the one that
goes on in its place never write to the same place.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import QCError, WorkFailed
from qc_core.progress import say
from qc_core.store.folder import FolderStore
from qc_core.store.folders import delete_folder, get_folder, put_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import STORE_VARIABLE, open_store
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint
from qc_core.training.fine_tune import FineTuned
from qc_core.training.resume import Pace

_PROGRESS = re.compile(r"progress-(\d+)-(\d+)")


def study_store(storage: str) -> ObjectStore:
    """Where the trials of a study are kept.

    Args:
        storage: path of the study's journal, which has a folder beside it; if empty, the workers
            are on many machines and share `QC_STORE`.
    """
    return FolderStore(Path(f"{storage}.trials")) if storage else open_store()


class KeptTrial:
    """One attempt's part of the store.

    Args:
        attempt: number of Optuna's trial.
        scratch: a folder of this attempt's own on this machine.
        before_keeping: called with the environment step that will be kept; what it raises ends
            the training.

    Attributes:
        checkpoint: what an earlier attempt kept last, fetched; None where there is none.
    """

    def __init__(
        self,
        store: ObjectStore,
        study: str,
        slot: int,
        attempt: int,
        scratch: Path,
        before_keeping: Callable[[int], None],
    ) -> None:
        self._store, self._slot, self._attempt = store, slot, attempt
        self._prefix, self._scratch = _slot_prefix(study, slot), scratch
        self._before_keeping, self._pace = before_keeping, Pace()
        self.checkpoint = self._fetch()

    @property
    def due(self) -> bool:
        """Whether it is time to keep another."""
        return self._pace.due

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of older ones; without the store, training goes on."""
        self._before_keeping(info.online_steps)
        own = info.online_steps, self._attempt
        with self._pace.keeping():
            folder = self._scratch / "progress"
            try:
                save_checkpoint(folder, agent, info, curve, state)
                put_folder(self._store, f"{self._prefix}progress-{own[0]}-{own[1]}/", folder)
                for older in [place for place in self._kept() if place < own]:
                    delete_folder(self._store, f"{self._prefix}progress-{older[0]}-{older[1]}/")
            except (QCError, OSError) as error:
                say(f"trial {self._slot} goes on, though it cannot be kept now: {error}")
            shutil.rmtree(folder, ignore_errors=True)

    def put_result(self, result: FineTuned) -> None:
        """Put the checkpoint that the attempt came to."""
        folder = self._scratch / "result"
        save_checkpoint(folder, result.agent, result.info, result.curve)
        put_folder(self._store, f"{self._prefix}result-{self._attempt}/", folder)

    def remove_progress(self) -> None:
        """Nothing is gone on from any more; what remains, `forget_all_but` removes."""
        with suppress(QCError):
            for step, attempt in self._kept():
                delete_folder(self._store, f"{self._prefix}progress-{step}-{attempt}/")

    def _kept(self) -> list[tuple[int, int]]:
        """Step and attempt of what is kept of this slot, the newest first."""
        found = map(_PROGRESS.fullmatch, self._store.folders(self._prefix))
        return sorted(((int(m[1]), int(m[2])) for m in found if m), reverse=True)

    def _fetch(self) -> Path | None:
        for step, attempt in self._kept():
            target = self._scratch / f"fetched-{step}-{attempt}"
            try:
                get_folder(self._store, f"{self._prefix}progress-{step}-{attempt}/", target)
            except NoSuchObject:
                # Its worker died while it wrote.
                continue
            except WorkFailed as error:
                say(f"trial {self._slot} does not go on from step {step:,}: {error}")
                continue
            return target
        return None


def get_result(store: ObjectStore, study: str, slot: int, attempt: int, output: Path) -> None:
    """Fetch the checkpoint of an attempt that came to its end (WorkFailed: damaged or gone)."""
    try:
        get_folder(store, f"{_slot_prefix(study, slot)}result-{attempt}/", output)
    except NoSuchObject as error:
        raise WorkFailed(
            f"the checkpoint of trial {slot} is not in {store.describe()}: it was deleted, or "
            f"its worker wrote to another store; {STORE_VARIABLE} must be the same for every step"
        ) from error


def forget_all_but(store: ObjectStore, study: str, slot: int, attempt: int) -> None:
    """Remove what a study kept, but for the checkpoint of this attempt."""
    for trial in store.folders(f"studies/{study}/"):
        prefix = f"studies/{study}/{trial}/"
        for name in store.folders(prefix):
            if f"{prefix}{name}/" != f"{_slot_prefix(study, slot)}result-{attempt}/":
                delete_folder(store, f"{prefix}{name}/")


def _slot_prefix(study: str, slot: int) -> str:
    return f"studies/{study}/trial-{slot}/"

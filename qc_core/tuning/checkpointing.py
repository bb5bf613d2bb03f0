"""What a study keeps in the store, so that a trial outlives its worker.

studies/STUDY/trial-SLOT/progress-STEP-ATTEMPT/…  to go on from, while the trial runs
studies/STUDY/trial-SLOT/result-ATTEMPT/…         the checkpoint of an attempt that came to its end

ATTEMPT is the number of Optuna's trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import RunError
from qc_core.store.bundle import delete_folder, get_folder, put_folder
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import STORE_VARIABLE, open_store
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint
from qc_core.training.fine_tune import FineTuned
from qc_core.training.remote_checkpoints import RemoteCheckpointStore
from qc_core.tuning.study import journal_of


def study_store(storage: str) -> ObjectStore:
    """Where the trials of a study are kept.

    Args:
        storage: as `journal_of` takes it. A journal has a folder beside it; workers that share a
            database share `QC_STORE`.
    """
    journal = journal_of(storage)
    return FolderStore(Path(f"{journal}.trials")) if journal else open_store()


class TrialCheckpointStore(RemoteCheckpointStore):
    """One attempt's part of the store.

    Args:
        attempt: number of Optuna's trial.
        scratch: a folder of this attempt's own on this machine.
        before_keeping: called with the environment step that will be kept; what it raises ends
            the training.
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
        self._before_keeping = before_keeping
        super().__init__(store, _slot_prefix(study, slot), str(attempt), scratch, f"trial {slot}")

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of older ones; without the store, training goes on."""
        self._before_keeping(info.online_steps)
        super().keep(agent, info, curve, state)

    def put_result(self, result: FineTuned) -> None:
        """Put the checkpoint that the attempt came to."""
        folder = self._scratch / "result"
        save_checkpoint(folder, result.agent, result.info, result.curve)
        put_folder(self._store, f"{self._prefix}result-{self._attempt}/", folder)


def get_result(store: ObjectStore, study: str, slot: int, attempt: int, output: Path) -> None:
    """Fetch the checkpoint of an attempt that came to its end (RunError: damaged or gone)."""
    try:
        get_folder(store, f"{_slot_prefix(study, slot)}result-{attempt}/", output)
    except NoSuchObject as error:
        raise RunError(
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

"""Checkpoints of a study's trials in the store, so that a trial outlives its worker.

studies/STUDY/trial-SLOT/progress-STEP-ATTEMPT/…  to resume from, while the trial runs
studies/STUDY/trial-SLOT/result-ATTEMPT/…         the checkpoint of an attempt that has finished
studies/STUDY/selection.json                      which of them was selected, once that is decided

ATTEMPT is the number of Optuna's trial.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qc_core.errors import RunError
from qc_core.scratch import scratch_folder
from qc_core.store.bundle import delete_folder, get_folder, put_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import STORE_VARIABLE
from qc_core.training.checkpoint import Checkpoint, save_checkpoint
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.fine_tune import FineTuned
from qc_core.training.remote_checkpoints import RemoteCheckpoints


def trial_checkpoints(
    store: ObjectStore,
    study_name: str,
    slot: int,
    attempt: int,
    scratch: Path,
    before_save: Callable[[int], None],
) -> CheckpointStore:
    """Return the checkpoint store of one attempt at a trial.

    Args:
        attempt: number of Optuna's trial.
        scratch: a folder on this machine that only this attempt uses.
        before_save: called with the environment steps of each checkpoint before it is saved; what
            it raises ends the training.
    """

    def before(checkpoint: Checkpoint) -> None:
        before_save(checkpoint.online_steps)

    backend = RemoteCheckpoints(store, _slot_prefix(study_name, slot), str(attempt), scratch)
    return CheckpointStore(backend, f"trial {slot}", before)


def put_result(
    store: ObjectStore, study_name: str, slot: int, attempt: int, result: FineTuned
) -> None:
    """Store the final checkpoint of an attempt."""
    with scratch_folder("result") as scratch:
        folder = scratch / "result"
        save_checkpoint(folder, result.agent, result.checkpoint, result.curve)
        put_folder(store, _result_prefix(study_name, slot, attempt), folder)


def get_result(store: ObjectStore, study_name: str, slot: int, attempt: int, output: Path) -> None:
    """Download the final checkpoint of an attempt (RunError: damaged or missing)."""
    try:
        get_folder(store, _result_prefix(study_name, slot, attempt), output)
    except NoSuchObject as error:
        raise RunError(
            f"the checkpoint of trial {slot} is not in {store.describe()}: it was deleted, or "
            f"its worker wrote to another store; {STORE_VARIABLE} must be the same for every step"
        ) from error


def remove_all_but(store: ObjectStore, study_name: str, slot: int, attempt: int) -> None:
    """Remove all checkpoints of a study except the final one of this attempt."""
    for trial in store.folders(f"studies/{study_name}/"):
        prefix = f"studies/{study_name}/{trial}/"
        for name in store.folders(prefix):
            if f"{prefix}{name}/" != _result_prefix(study_name, slot, attempt):
                delete_folder(store, f"{prefix}{name}/")


def selection_key(study_name: str) -> str:
    """Return the key of the study's `Selection`."""
    return f"studies/{study_name}/selection.json"


def _slot_prefix(study_name: str, slot: int) -> str:
    return f"studies/{study_name}/trial-{slot}/"


def _result_prefix(study_name: str, slot: int, attempt: int) -> str:
    return f"{_slot_prefix(study_name, slot)}result-{attempt}/"

"""Results of a study in the store: the final checkpoint of each trial, and the selection.

studies/STUDY/trial-SLOT/progress-STEP-ATTEMPT/…  to resume from, while the trial runs
studies/STUDY/trial-SLOT/result-ATTEMPT/…         the checkpoint of an attempt that has finished
studies/STUDY/selection.json                      which of them was selected, once that is decided

ATTEMPT is the number of Optuna's trial. This module does not import torch.
"""

from __future__ import annotations

from pathlib import Path

from qc_core.errors import RunError
from qc_core.store.bundle import delete_folder, get_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import STORE_VARIABLE


def get_result(store: ObjectStore, study_name: str, slot: int, attempt: int, output: Path) -> None:
    """Download the final checkpoint of an attempt (RunError: damaged or missing)."""
    try:
        get_folder(store, result_prefix(study_name, slot, attempt), output)
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
            if f"{prefix}{name}/" != result_prefix(study_name, slot, attempt):
                delete_folder(store, f"{prefix}{name}/")


def selection_key(study_name: str) -> str:
    """Return the key of the study's `Selection`."""
    return f"studies/{study_name}/selection.json"


def slot_prefix(study_name: str, slot: int) -> str:
    """Return the folder of a trial."""
    return f"studies/{study_name}/trial-{slot}/"


def result_prefix(study_name: str, slot: int, attempt: int) -> str:
    """Return the folder of the final checkpoint of an attempt."""
    return f"{slot_prefix(study_name, slot)}result-{attempt}/"

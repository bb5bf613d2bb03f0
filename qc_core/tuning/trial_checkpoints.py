"""Saves the checkpoints of a study's trials in the store, so that a trial outlives its worker.

`qc_core.tuning.trial_results` says where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qc_core.scratch import scratch_folder
from qc_core.store.bundle import put_folder
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import Checkpoint
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.fine_tune import FineTuned
from qc_core.training.remote_checkpoints import RemoteCheckpoints
from qc_core.training.saved_agent import save_checkpoint
from qc_core.tuning.trial_results import result_prefix, slot_prefix


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

    backend = RemoteCheckpoints(store, slot_prefix(study_name, slot), str(attempt), scratch)
    return CheckpointStore(backend, f"trial {slot}", before)


def put_result(
    store: ObjectStore, study_name: str, slot: int, attempt: int, result: FineTuned
) -> None:
    """Store the final checkpoint of an attempt."""
    with scratch_folder("result") as scratch:
        folder = scratch / "result"
        save_checkpoint(folder, result.agent, result.checkpoint, result.curve)
        put_folder(store, result_prefix(study_name, slot, attempt), folder)

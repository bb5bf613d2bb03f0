"""The best trial of all workers goes on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from qc_core.errors import WorkFailed
from qc_core.files import require_vacant, staged_folder, write_json
from qc_core.progress import say
from qc_core.tuning.trials import read_trials


def select_best(worker_folders: Sequence[Path], output: Path, history: Path) -> None:
    """Copy the best trial's checkpoint to `output`, and write every trial to `history`.

    Raises:
        WorkFailed: no trial came to its end.
    """
    require_vacant(output)
    trials, best = read_trials(worker_folders)
    if best is None:
        raise WorkFailed(f"none of the {len(trials)} trials came to its end")
    with staged_folder(output) as staging:
        shutil.copytree(best.checkpoint, staging, dirs_exist_ok=True)
    write_json(history, {"best-trial": best.trial, "trials": trials})
    chosen = next(record for record in trials if record["trial"] == best.trial)
    say(f"trial {best.trial} goes on: success {chosen['success']:.0%}, {chosen['steps']:.0f} steps")

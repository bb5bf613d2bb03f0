"""The best trial of all workers goes on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qc_core.errors import WorkFailed
from qc_core.files import read_json, require_vacant, staged_folder, write_json
from qc_core.progress import say
from qc_core.tuning.worker import CHECKPOINT, TRIALS, ranking


def select_best(worker_folders: Sequence[Path], output: Path, history: Path) -> None:
    """Copy the best trial's checkpoint to `output`, and write every trial to `history`.

    Raises:
        WorkFailed: no trial came to its end.
    """
    require_vacant(output)
    trials: list[dict[str, Any]] = []
    candidates: list[tuple[tuple[float, float], int, Path]] = []
    for folder in worker_folders:
        records = read_json(folder / TRIALS)
        trials += records
        if (folder / CHECKPOINT).is_dir():
            number = read_json(folder / "best.json")["trial"]
            record = next(record for record in records if record["trial"] == number)
            candidates.append((ranking(record), number, folder / CHECKPOINT))
    if not candidates:
        raise WorkFailed(f"none of the {len(trials)} trials came to its end")
    trials.sort(key=lambda record: record["trial"])
    # Equal trials: the earlier one, since the first is the recipe's own.
    _, best, checkpoint = max(candidates, key=lambda entry: (entry[0], -entry[1]))
    with staged_folder(output) as staging:
        shutil.copytree(checkpoint, staging, dirs_exist_ok=True)
    write_json(history, {"best-trial": best, "trials": trials})
    chosen = next(record for record in trials if record["trial"] == best)
    say(f"trial {best} goes on: success {chosen['success']:.0%}, {chosen['steps']:.0f} steps")

"""The folder that trials leave: what each came to, and the best one's checkpoint.

trials.json   every trial
checkpoint/   the best of those that came to their end; missing if none did
best.json     which one that is
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qc_core.files import read_json, staged_folder, write_json
from qc_core.training.checkpoint import save_checkpoint
from qc_core.training.fine_tune import FineTuned

Record = dict[str, Any]
_TRIALS, _CHECKPOINT, _BEST = "trials.json", "checkpoint", "best.json"


class Best(NamedTuple):
    trial: int
    checkpoint: Path


def ranking(record: Record) -> tuple[float, float]:
    """Trials compare by success, then by how few steps they took."""
    return record["success"], -record["steps"]


def write_trials(
    output: Path, records: Sequence[Record], best: tuple[int, FineTuned] | None
) -> None:
    """Write the folder.

    Args:
        best: number and result of the best trial that came to its end.
    """
    with staged_folder(output) as staging:
        write_json(staging / _TRIALS, records)
        if best is not None:
            trial, result = best
            save_checkpoint(staging / _CHECKPOINT, result.agent, result.info, result.curve)
            write_json(staging / _BEST, {"trial": trial})


def read_trials(folders: Sequence[Path]) -> tuple[list[Record], Best | None]:
    """Every trial of these folders by its number, and the best checkpoint among theirs."""
    records: list[Record] = []
    candidates: list[tuple[tuple[float, float], int, Path]] = []
    for folder in folders:
        trials = read_json(folder / _TRIALS)
        records += trials
        if (folder / _CHECKPOINT).is_dir():
            number = read_json(folder / _BEST)["trial"]
            record = next(record for record in trials if record["trial"] == number)
            candidates.append((ranking(record), number, folder / _CHECKPOINT))
    records.sort(key=lambda record: record["trial"])
    if not candidates:
        return records, None
    # Equal trials: the earlier one, since the first is the recipe's own.
    _, number, checkpoint = max(candidates, key=lambda entry: (entry[0], -entry[1]))
    return records, Best(number, checkpoint)


def gather_trials(folders: Sequence[Path], output: Path) -> None:
    """One folder of all of these, with the best checkpoint among theirs."""
    records, best = read_trials(folders)
    with staged_folder(output) as staging:
        write_json(staging / _TRIALS, records)
        if best is not None:
            shutil.copytree(best.checkpoint, staging / _CHECKPOINT)
            write_json(staging / _BEST, {"trial": best.trial})

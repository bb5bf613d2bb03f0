"""What the trials of a study came to, as a report shows them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from qc_core.tuning.slots import REASON, SCORES, WORKER, attempts_by_slot, decisive, is_lost

Record = dict[str, Any]
COMPLETE = "complete"


def read_trials(study: optuna.Study) -> list[Record]:
    """One record per planned trial, in their order.

    `state` is complete, pruned, diverged, failed, or lost with its worker; running or waiting in
    a study that is not over. `attempts` counts the workers that had it, `optuna-trial` is the
    number of the last attempt. `seconds` are the last attempt's own.
    """
    slots = attempts_by_slot(study.get_trials(deepcopy=False))
    return [_record(slot, attempts) for slot, attempts in slots.items()]


def best_trial(records: list[Record]) -> Record | None:
    """The best of those that came to their end; of equal ones the first, the recipe's own."""
    complete = [record for record in records if record["state"] == COMPLETE]
    return max(complete, key=lambda record: (ranking(record), -record["trial"]), default=None)


def ranking(record: Record) -> tuple[float, float, float]:
    """Trials compare by success, then by how few steps they took, then by their return.

    Where the environment tells no success, the first two are equal, and the return is all.
    """
    return record["success"], -record["steps"], record["return"]


def figures(records: list[Record]) -> dict[str, float]:
    """How many trials came to what, and which was the best: the numbers that sum them up."""
    counts = Counter(record["state"] for record in records)
    summed_up: dict[str, float] = {"trials": len(records), **counts}
    if best := best_trial(records):
        shown = ("success", "steps") if best["success-told"] else ("return",)
        summed_up |= {"best-trial": best["trial"], **{name: best[name] for name in shown}}
    return summed_up


def _record(slot: int, attempts: list[FrozenTrial]) -> Record:
    trial = decisive(attempts) or attempts[-1]
    state = "lost" if is_lost(trial) else trial.user_attrs.get(REASON, trial.state.name.lower())
    scores = trial.user_attrs.get(SCORES, [])
    record = {
        "trial": slot,
        "state": state,
        "attempts": len(attempts),
        "optuna-trial": trial.number,
        "worker": trial.user_attrs.get(WORKER),
        "parameters": {**trial.system_attrs.get("fixed_params", {}), **trial.params},
        "scores": scores,
        "seconds": trial.duration.total_seconds() if trial.duration else 0.0,
    }
    if scores:
        last = scores[-1]
        record |= {
            "success": last["success"],
            "steps": last["steps"],
            "return": last["episode_return"],
            "success-told": last["reports_success"],
        }
    return record

"""The best trial of a study goes on."""

from __future__ import annotations

from pathlib import Path

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.errors import RunError
from qc_core.files import require_vacant, write_json
from qc_core.log import log
from qc_core.training.fine_tune import Score
from qc_core.tuning.checkpointing import forget_all_but, get_result, study_store
from qc_core.tuning.study import answering, load_study
from qc_core.tuning.trials import best_trial, read_trials


def select_best(study_name: str, storage: str, output: Path, history: Path) -> None:
    """Fetch the best trial's checkpoint to `output`, and write every trial to `history`.

    What the study kept of the others is removed. The best one's stays in the store: done again,
    this comes to the same.

    Raises:
        RunError: no trial came to its end.
    """
    require_vacant(output, staged=True)
    with answering():
        trials = read_trials(load_study(study_name, storage))
    best = best_trial(trials)
    if best is None:
        raise RunError(f"none of the {len(trials)} trials came to its end")
    store, attempt = study_store(storage), (best["trial"], best["optuna-trial"])
    get_result(store, study_name, *attempt, output)
    write_json(history, {"best-trial": best["trial"], "trials": trials})
    forget_all_but(store, study_name, *attempt)
    if not best["success-told"]:
        log.info(f"the environment {NO_SUCCESS_SIGNAL}: trials are compared by their return")
    log.info(f"trial {best['trial']} goes on: {Score(**best['scores'][-1]).words}")

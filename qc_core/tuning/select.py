"""Selects the best trial of a study."""

from __future__ import annotations

import shutil
from pathlib import Path

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.errors import RunError
from qc_core.files import require_vacant, staged_folder
from qc_core.log import log
from qc_core.tuning.study import answering, load_study
from qc_core.tuning.trial_checkpoints import get_result, remove_all_but, study_store
from qc_core.tuning.trials import StudyRequest, best_trial, read_trials, write_history


def select_best(
    study_name: str,
    storage: str,
    output: Path,
    history: Path,
    pretrained: Path | None = None,
    request: StudyRequest | None = None,
) -> None:
    """Write all trials to `history`, then download the best trial's checkpoint to `output`.

    Removes the other trials' checkpoints from the store. The best one stays there, so that the
    selection can be repeated with the same result.

    Args:
        pretrained: the checkpoint to select in a study without trials.

    Raises:
        RunError: no trial is complete, or the store or study storage does not answer.
    """
    require_vacant(output, staged=True)
    with answering():
        trials = read_trials(load_study(study_name, storage))
    if not trials and pretrained is not None:
        with staged_folder(output) as staging:
            shutil.copytree(pretrained, staging, dirs_exist_ok=True)
        write_history(history, None, trials)
        log.info("the pretrained policy is selected: it was not fine-tuned")
        return
    best = best_trial(trials)
    if best is None:
        raise RunError(f"none of the {len(trials)} trials is complete")
    store = study_store(storage)
    write_history(history, best, trials, request)
    get_result(store, study_name, best.trial, best.optuna_trial, output)
    remove_all_but(store, study_name, best.trial, best.optuna_trial)
    if not best.reports_success:
        log.info(f"the environment {NO_SUCCESS_SIGNAL}: trials are compared by their return")
    log.info(f"trial {best.trial} is selected: {best.scores[-1].text}")

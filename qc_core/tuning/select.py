"""Selects the best trial of a study, and whether it or the offline policy is published."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from qc_core import documents
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.envs.make import episode_limit
from qc_core.envs.play import play_episodes
from qc_core.errors import RunError
from qc_core.files import require_vacant, staged_folder
from qc_core.log import log
from qc_core.processes import preload
from qc_core.scratch import scratch_folder
from qc_core.seeds import seeds_for
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.training.checkpoint_policy import CheckpointPolicy
from qc_core.tuning.selection import Selection, decide
from qc_core.tuning.slots import DIVERGED, FAILED
from qc_core.tuning.study import answering, load_study, study_store
from qc_core.tuning.trial_results import (
    get_result,
    remove_all_but,
    selection_key,
)
from qc_core.tuning.trials import (
    COMPLETE,
    PRUNED,
    StudyRequest,
    Trial,
    best_trial,
    read_trials,
    write_history,
)


def select_best(
    config: Config,
    pretrained: Path,
    study_name: str,
    storage: str,
    output: Path,
    history: Path,
    *,
    published: Path | None = None,
    request: StudyRequest | None = None,
) -> None:
    """Compare the complete trials with the offline policy; write the best trial's checkpoint.

    `qc_core.tuning.selection` finds the best trial, and whether it is better than the offline
    policy. A method without an offline phase has none: its best trial is that of the best score.
    If every trial has failed for a reason of its own, the offline policy is published.

    Removes the other trials' checkpoints from the store. The best one and the decision stay there,
    so that the selection can be repeated with the same result.

    Args:
        pretrained: the offline checkpoint. A study without complete trials selects it.
        output: folder for the best trial's checkpoint.
        history: file for the results of all trials and of the selection.
        published: folder for a copy of the checkpoint to publish: the best trial's if it is better
            than the offline policy, else the offline one.

    Raises:
        RunError: no trial is complete, and nothing can be published instead; or the store or study
            storage does not answer.
    """
    for folder in (output, published):
        if folder is not None:
            require_vacant(folder, staged=True)
    with answering():
        trials = read_trials(load_study(study_name, storage))
    complete = {trial.trial: trial for trial in trials if trial.state == COMPLETE}
    if not complete:
        selection = None
        if trials:
            _log_failure(config, trials, published)
        else:
            log.info("the pretrained policy is selected: it was not fine-tuned")
        _copy(pretrained, output)
        write_history(history, None, trials, request=request)
    else:
        store = study_store(storage)
        selection = _selection(config, pretrained, store, study_name, complete)
        best = complete[selection.best_trial] if selection else best_trial(trials)
        assert best is not None
        write_history(history, best, trials, selection, request)
        get_result(store, study_name, best.trial, best.optuna_trial, output)
        remove_all_but(store, study_name, best.trial, best.optuna_trial)
        _log(best, selection)
    if published is not None:
        _copy(output if selection is None or selection.helped else pretrained, published)


def _log_failure(config: Config, trials: Sequence[Trial], published: Path | None) -> None:
    """Warn that no trial is complete (RunError: the offline policy cannot be published instead)."""
    causes = [f"; trial {trial.trial}: {trial.error}" for trial in trials if trial.error]
    failure = f"none of the {len(trials)} trials is complete{''.join(causes[:1])}"
    # A trial that was lost with its worker may succeed on another machine.
    failed_by_themselves = all(trial.state in (DIVERGED, FAILED, PRUNED) for trial in trials)
    if published is None or METHODS[config.train.method].online_only or not failed_by_themselves:
        raise RunError(failure)
    log.warning(f"the offline policy is published: {failure}")


def _selection(
    config: Config,
    pretrained: Path,
    store: ObjectStore,
    study_name: str,
    complete: dict[int, Trial],
) -> Selection | None:
    """Return the decision, also of an earlier call; None for a method without offline phase."""
    if METHODS[config.train.method].online_only:
        return None
    key = selection_key(study_name)
    try:
        earlier = documents.parse(store.get(key), Selection, key)
    except NoSuchObject:
        earlier = None
    candidates = set(complete)
    if earlier is not None:
        # The checkpoints of trials that lost are removed.
        candidates -= {c.trial for c in earlier.candidates} - {earlier.best_trial}
        if candidates == {earlier.best_trial}:
            return earlier
    with scratch_folder("select") as scratch:
        folders = {number: scratch / str(number) for number in sorted(candidates)}
        for number, folder in folders.items():
            get_result(store, study_name, number, complete[number].optuna_trial, folder)
        selection = _compare_with_offline(config, pretrained, folders, earlier)
    store.put(key, documents.encode(selection))
    return selection


def _compare_with_offline(
    config: Config,
    offline: Path,
    trials: Mapping[int, Path],
    earlier: Selection | None,
) -> Selection:
    """Play `config.evaluate.episodes` new episodes with each policy, and decide.

    Args:
        offline: the pretrained checkpoint.
        trials: the final checkpoint of each complete trial, by its number; at least one.
        earlier: as for `decide`.
    """
    horizon = config.evaluate.execution_horizon
    seeds = seeds_for("select", config.seed, config.evaluate.episodes)
    checkpoints = {"offline": offline, **{f"trial {number}": trials[number] for number in trials}}
    preload("torch")
    played = play_episodes(
        config.environment,
        {
            name: CheckpointPolicy(checkpoint, "learned", horizon)
            for name, checkpoint in checkpoints.items()
        },
        seeds,
        workers=min(config.evaluate.workers, len(seeds)),
    )
    # The data, which a checkpoint describes, may have another limit than the environment.
    limit = episode_limit(config.environment)
    baseline, *others = played.values()
    return decide(baseline, dict(zip(trials, others, strict=True)), limit, earlier)


def _log(best: Trial, selection: Selection | None) -> None:
    if not best.reports_success:
        log.info(f"the environment {NO_SUCCESS_SIGNAL}: trials are compared by their return")
    if selection is None:
        log.info(f"trial {best.trial} is selected: {best.scores[-1].text}")
    elif selection.helped:
        log.info(
            f"trial {best.trial} is selected: it is better than the offline policy "
            f"({selection.evidence})"
        )
    else:
        log.info(
            f"fine-tuning did not help beyond chance: trial {best.trial} is not shown to be better "
            f"than the offline policy ({selection.evidence})"
        )


def _copy(checkpoint: Path, output: Path) -> None:
    with staged_folder(output) as staging:
        shutil.copytree(checkpoint, staging, dirs_exist_ok=True)

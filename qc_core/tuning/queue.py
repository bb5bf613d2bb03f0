"""The study as a queue: each slot gets one result, also if workers die.

Every transition is a compare-and-set in the study storage. What must follow it is done by the next
worker that looks, because a worker may die between any two transitions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from qc_core.log import log
from qc_core.seeds import seeds_for
from qc_core.tuning.optuna_private import as_trial, claim, heartbeat_interval
from qc_core.tuning.slots import (
    ATTEMPT,
    DUPLICATE,
    INTERRUPTED,
    REASON,
    RUN,
    SLOT,
    WORKER,
    attempts_by_slot,
    deciding_attempt,
    has_ended,
    is_given_up,
)
from qc_core.tuning.study import sampler
from qc_core.tuning.trials import parameters_of


def take_trial(
    study: optuna.Study, run_seed: int, worker: int, run_id: str = ""
) -> optuna.Trial | None:
    """Return the next waiting trial, or None when every slot has ended.

    While other workers run the last trials, this waits, because one of them may die. It does not
    wait on one machine, whose study storage has no heartbeats.
    """
    is_waiting = False
    while True:
        fail_stale_trials(study)
        requeue_lost(study)
        for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            # Trials that a person has enqueued have no slot.
            if SLOT not in waiting.user_attrs:
                continue
            if (trial := _take(study, waiting, run_seed, worker, run_id)) is not None:
                return trial
        interval = heartbeat_interval(study)
        slots = attempts_by_slot(study.get_trials(deepcopy=False))
        if all(map(has_ended, slots.values())) or interval is None:
            return None
        if not is_waiting:
            is_waiting = True
            log.info(
                f"worker {worker} has no trial left and waits for {_running(slots, run_id)}; a "
                "trial is tried again if its worker stops sending heartbeats"
            )
        time.sleep(interval)


def finish(
    study: optuna.Study, trial: optuna.Trial, state: TrialState, value: float | None = None
) -> None:
    """Report the final state of an attempt.

    Raises:
        UpdateFinishedTrialError: the attempt was marked as failed before; its result is discarded.
    """
    finished = study.tell(trial, value, state, skip_if_finished=True)
    if finished.state != state:
        raise UpdateFinishedTrialError(f"trial {trial.number} is {finished.state.name}")


def end_interrupted(study: optuna.Study) -> None:
    """End the attempts of workers that were interrupted together, so that they are run again.

    The caller must know that no worker is running.
    """
    for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        end_attempt(study, as_trial(study, running), interrupted=True)


def end_attempts_of(study: optuna.Study, worker: int, run_id: str = "") -> None:
    """End the attempts that an earlier process of a worker left when it was killed.

    Their slots get another attempt at once, not only after the heartbeats are missing. Attempts of
    other runs do not change, because their workers may still be running.
    """
    for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        attributes = running.user_attrs
        if attributes.get(WORKER) == worker and attributes.get(RUN, run_id) == run_id:
            log.info(f"worker {worker} was killed and resumes its trial {attributes[SLOT]}")
            end_attempt(study, as_trial(study, running), interrupted=False)


def end_attempt(study: optuna.Study, trial: optuna.Trial, *, interrupted: bool) -> None:
    """Mark an attempt as lost, so that its slot gets another one.

    Args:
        interrupted: the worker was interrupted on purpose, which does not count as a loss.
    """
    with suppress(UpdateFinishedTrialError):
        if interrupted:
            trial.set_user_attr(INTERRUPTED, True)
        finish(study, trial, TrialState.FAIL)


def requeue_lost(study: optuna.Study) -> None:
    """Enqueue another attempt for each slot whose attempts were all lost.

    If two workers do this at the same time, one attempt too many is enqueued; it is not run.
    """
    for slot, attempts in attempts_by_slot(study.get_trials(deepcopy=False)).items():
        if deciding_attempt(attempts) is None and not is_given_up(attempts):
            last = attempts[-1]
            # Parameters that the first attempt was enqueued with, and those drawn since.
            parameters = parameters_of(last)
            study.enqueue_trial(parameters, {SLOT: slot, ATTEMPT: len(attempts)})


def _running(slots: Mapping[int, list[FrozenTrial]], run_id: str) -> str:
    """Return the trials that have not ended, with their workers, for people."""
    named = []
    for slot, attempts in slots.items():
        if not has_ended(attempts):
            attributes = attempts[-1].user_attrs
            other = attributes.get(RUN, run_id)
            of_run = f" of run {other}" if other != run_id else ""
            worker = attributes.get(WORKER)
            named.append(
                f"trial {slot}" if worker is None else f"trial {slot} (worker {worker}{of_run})"
            )
    return ", ".join(named)


def _take(
    study: optuna.Study, waiting: FrozenTrial, run_seed: int, worker: int, run_id: str
) -> optuna.Trial | None:
    """Start a waiting trial, unless another worker has it or its slot has a better attempt."""
    slot = waiting.user_attrs[SLOT]
    try:
        if (trial := claim(study, waiting)) is None:
            return None
        # A slot draws the same parameters in every worker, and each slot draws different ones.
        study.sampler = sampler(seeds_for("trial", run_seed, 1, offset=slot)[0])
        attempts = attempts_by_slot(study.get_trials(deepcopy=False))[slot]
        first = deciding_attempt(attempts)
        if first is None or first.number == trial.number:
            trial.set_user_attr(WORKER, worker)
            trial.set_user_attr(RUN, run_id)
            return trial
        trial.set_user_attr(REASON, DUPLICATE)
        finish(study, trial, TrialState.FAIL)
    except UpdateFinishedTrialError:
        # Another worker had the trial, or this worker was suspended until it counted as dead.
        pass
    return None

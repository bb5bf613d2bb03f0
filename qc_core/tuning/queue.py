"""The study as a queue: every slot comes to one result, whatever becomes of its workers.

Every step is a compare-and-set in the study storage, and what must follow it is found again by
whoever looks next: a worker may die between any two.
"""

from __future__ import annotations

import time

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import (
    BaseHeartbeat,
    BaseHeartbeatThread,
    get_heartbeat_thread,
    is_heartbeat_enabled,
)
from optuna.trial import FrozenTrial, TrialState

from qc_core.log import log
from qc_core.seeds import seeds_for
from qc_core.tuning.slots import (
    ATTEMPT,
    DUPLICATE,
    REASON,
    SLOT,
    WORKER,
    attempts_by_slot,
    decisive,
    has_ended,
    is_given_up,
)
from qc_core.tuning.study import sampler


def take_trial(study: optuna.Study, run_seed: int, worker: int) -> optuna.Trial | None:
    """The next waiting trial, or None when every slot has ended.

    While the last ones are run by other workers, this waits: one of these may die. On one
    machine, where there are no heartbeats, nobody waits.
    """
    waits = False
    while True:
        fail_stale_trials(study)
        requeue_lost(study)
        for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            # What a person enqueued by hand has no slot, and nobody to say what it is for.
            if SLOT not in waiting.user_attrs:
                continue
            if (trial := _claim(study, waiting, run_seed, worker)) is not None:
                return trial
        storage = study._storage
        slots = attempts_by_slot(study.get_trials(deepcopy=False))
        if all(map(has_ended, slots.values())) or not is_heartbeat_enabled(storage):
            return None
        if not waits:
            waits = True
            left = sum(not has_ended(attempts) for attempts in slots.values())
            log.info(f"worker {worker} has no trial left and waits for other workers ({left})")
        assert isinstance(storage, BaseHeartbeat)
        time.sleep(storage.get_heartbeat_interval() or 0)


def finish(
    study: optuna.Study, trial: optuna.Trial, state: TrialState, value: float | None = None
) -> None:
    """Tell what an attempt came to.

    Raises:
        UpdateFinishedTrialError: it was taken for lost before; what it came to does not count.
    """
    told = study.tell(trial, value, state, skip_if_finished=True)
    if told.state != state:
        raise UpdateFinishedTrialError(f"trial {trial.number} is {told.state.name}")


def heartbeats(trial: optuna.Trial) -> BaseHeartbeatThread:
    """Show the study, while the block lasts, that the worker of this trial lives."""
    return get_heartbeat_thread(trial._trial_id, trial.storage)


def requeue_lost(study: optuna.Study) -> None:
    """Let each slot whose attempts are all lost wait for another.

    Two workers that do so at once leave an attempt too many, which is not run.
    """
    for slot, attempts in attempts_by_slot(study.get_trials(deepcopy=False)).items():
        if decisive(attempts) is None and not is_given_up(attempts):
            last = attempts[-1]
            # What the first was given, and what it drew before it was lost.
            parameters = {**last.system_attrs.get("fixed_params", {}), **last.params}
            study.enqueue_trial(parameters, {SLOT: slot, ATTEMPT: len(attempts)})


def _claim(
    study: optuna.Study, waiting: FrozenTrial, run_seed: int, worker: int
) -> optuna.Trial | None:
    """Run a waiting trial, unless another worker does or its slot has a better attempt."""
    storage, slot = study._storage, waiting.user_attrs[SLOT]
    if is_heartbeat_enabled(storage):
        assert isinstance(storage, BaseHeartbeat)
        # Without a first heartbeat, a trial whose worker dies at once is never missed.
        storage.record_heartbeat(waiting._trial_id)
    try:
        if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
            return None
        # A slot draws the same whichever worker takes it, and no two slots draw alike.
        study.sampler = sampler(seeds_for("trial", run_seed, 1, offset=slot)[0])
        trial = optuna.Trial(study, waiting._trial_id)
        attempts = attempts_by_slot(study.get_trials(deepcopy=False))[slot]
        first = decisive(attempts)
        if first is None or first.number == trial.number:
            trial.set_user_attr(WORKER, worker)
            return trial
        trial.set_user_attr(REASON, DUPLICATE)
        finish(study, trial, TrialState.FAIL)
    except UpdateFinishedTrialError:
        # Another worker had it, or this one slept until it was taken for dead.
        pass
    return None

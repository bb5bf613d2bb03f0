"""What the queue needs from Optuna 5 that has no public interface.

Optuna's public `Study.ask` takes any waiting trial and cannot claim a chosen one. Its public
heartbeats work only inside `Study.optimize`, which cannot resume a trial of another worker. A study
wraps its database in a private cache class, so the heartbeat methods have no public type either.
"""

from __future__ import annotations

import optuna
from optuna.storages._heartbeat import BaseHeartbeat, BaseHeartbeatThread, get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState


def heartbeat_interval(study: optuna.Study) -> int | None:
    """Return the seconds between a worker's heartbeats, None for a storage without them."""
    storage = study._storage
    return storage.get_heartbeat_interval() if isinstance(storage, BaseHeartbeat) else None


def claim(study: optuna.Study, waiting: FrozenTrial) -> optuna.Trial | None:
    """Compare-and-set: start a waiting trial, or return None if another worker has started it.

    Raises:
        UpdateFinishedTrialError: the trial has finished.
    """
    storage = study._storage
    if isinstance(storage, BaseHeartbeat) and storage.get_heartbeat_interval() is not None:
        # Without a first heartbeat, a trial whose worker dies at once would never become stale.
        storage.record_heartbeat(waiting._trial_id)
    if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
        return None
    return optuna.Trial(study, waiting._trial_id)


def as_trial(study: optuna.Study, running: FrozenTrial) -> optuna.Trial:
    """Return a running trial of any worker, to set its attributes."""
    return optuna.Trial(study, running._trial_id)


def heartbeats(trial: optuna.Trial) -> BaseHeartbeatThread:
    """Record heartbeats of a trial in the background while the block runs."""
    return get_heartbeat_thread(trial._trial_id, trial.storage)


def fixed_parameters(trial: FrozenTrial) -> dict[str, float]:
    """Return the parameters that a trial was enqueued with."""
    return trial.system_attrs.get("fixed_params", {})

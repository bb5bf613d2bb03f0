"""The study that workers share: a queue of trials that each is taken from once."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from qc_core.errors import WorkFailed, WrongUse
from qc_core.recipes.config import Config, TrainConfig

STORAGE_VARIABLE = "QC_STUDY_STORAGE"
DIRECTION = "maximize"
# Marks the trials that the study was created with.
_PLANNED = {"planned": True}

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_storage(location: str) -> BaseStorage | str:
    """Where trials are kept.

    Args:
        location: path of a journal file, for processes on one machine; if empty, the Optuna
            storage URL in `QC_STUDY_STORAGE`, for workers on many.
    """
    if location:
        path = Path(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    if url := os.environ.get(STORAGE_VARIABLE):
        return url
    raise WrongUse(f"no study storage: set {STORAGE_VARIABLE} to an Optuna storage URL")


def create_study(name: str, storage: str, config: Config) -> None:
    """Make the study with all its trials waiting; the first is the recipe as it stands.

    Creating a study that exists already changes nothing.
    """
    try:
        study = optuna.create_study(
            study_name=name, storage=open_storage(storage), direction=DIRECTION
        )
    except optuna.exceptions.DuplicatedStudyError:
        return
    except Exception as error:
        raise WorkFailed(f"the study storage does not answer: {type(error).__name__}") from error
    study.enqueue_trial(
        {
            "online_learning_rate": config.train.online_learning_rate,
            "distillation_weight": config.train.distillation_weight,
        },
        user_attrs=_PLANNED,
    )
    for _ in range(config.tune.trials - 1):
        study.enqueue_trial({}, user_attrs=_PLANNED)


def load_study(name: str, storage: str, seed: int) -> optuna.Study:
    """The study as one worker sees it.

    Args:
        seed: of this worker's sampler; workers need different ones.
    """
    try:
        return optuna.load_study(
            study_name=name,
            storage=open_storage(storage),
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )
    except KeyError as error:
        raise WorkFailed(f"there is no study {name!r} in the study storage") from error


def take_trial(study: optuna.Study) -> optuna.Trial | None:
    """The next waiting trial, or None when none is left."""
    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        return None
    trial = study.ask()
    if not trial.user_attrs.items() >= _PLANNED.items():
        # Another worker took the last one in between, and Optuna made a new one for us.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None
    return trial


def suggest(trial: optuna.Trial, config: Config) -> TrainConfig:
    """The recipe's train config with this trial's values in it."""
    from dataclasses import replace

    train, tune = config.train, config.tune
    online_learning_rate = trial.suggest_float(
        "online_learning_rate",
        train.online_learning_rate / tune.learning_rate_factor,
        train.online_learning_rate * tune.learning_rate_factor,
        log=True,
    )
    distillation_weight = trial.suggest_float(
        "distillation_weight",
        train.distillation_weight / tune.distillation_weight_factor,
        train.distillation_weight * tune.distillation_weight_factor,
        log=True,
    )
    return replace(
        train,
        online_learning_rate=online_learning_rate,
        distillation_weight=distillation_weight,
    )

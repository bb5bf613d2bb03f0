"""The study that workers share: a queue of trials that each is taken from once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from qc_core.errors import WorkFailed, WrongUse
from qc_core.recipes.config import Config, TrainConfig
from qc_core.recipes.methods import METHODS

STORAGE_VARIABLE = "QC_STUDY_STORAGE"
DIRECTION = "maximize"
# Marks the trials that the study was created with.
_PLANNED = {"planned": True}
# Trials drawn at random before the sampler models what they showed.
_RANDOM_TRIALS = 4

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

    Called again, it adds only what is missing.
    """
    opened = open_storage(storage)
    with _reachable():
        study = optuna.create_study(
            study_name=name, storage=opened, direction=DIRECTION, load_if_exists=True
        )
        planned = sum(trial.user_attrs == _PLANNED for trial in study.get_trials(deepcopy=False))
        for number in range(planned, config.tune.trials):
            study.enqueue_trial(
                {} if number else {name: value for name, (value, _) in _searched(config).items()},
                user_attrs=_PLANNED,
            )


def load_study(name: str, storage: str, seed: int) -> optuna.Study:
    """The study as one worker sees it.

    Args:
        seed: of this worker's sampler; workers need different ones.
    """
    opened = open_storage(storage)
    with _reachable():
        return optuna.load_study(
            study_name=name,
            storage=opened,
            sampler=optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_RANDOM_TRIALS, constant_liar=True
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )


def take_trial(study: optuna.Study) -> optuna.Trial | None:
    """The next waiting trial, or None when none is left."""
    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        return None
    trial = study.ask()
    if trial.user_attrs != _PLANNED:
        # Another worker took the last one in between, and Optuna made a new one for us.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None
    return trial


def suggest(trial: optuna.Trial, config: Config) -> TrainConfig:
    """The recipe's train config with this trial's values in it."""
    values = {
        name: trial.suggest_float(name, value / factor, value * factor, log=True)
        for name, (value, factor) in _searched(config).items()
    }
    return replace(config.train, **values)


def _searched(config: Config) -> dict[str, tuple[float, float]]:
    """Fields of the train config that trials vary: the recipe's value, and how far around it."""
    train, tune = config.train, config.tune
    searched = {"online_learning_rate": (train.online_learning_rate, tune.learning_rate_factor)}
    if METHODS[train.method].policy == "one-step" and train.distillation_weight > 0:
        searched["distillation_weight"] = (
            train.distillation_weight,
            tune.distillation_weight_factor,
        )
    return searched


@contextmanager
def _reachable() -> Iterator[None]:
    """Whatever a storage raises becomes one line that shows no URL: it may hold a password."""
    try:
        yield
    except KeyError as error:
        raise WorkFailed("there is no such study in the study storage") from error
    except Exception as error:
        raise WorkFailed(
            f"the study storage does not answer ({type(error).__name__}): check {STORAGE_VARIABLE}"
        ) from error

"""The study that workers share: where it is kept, what it plans, what it searches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from qc_core.config.methods import OneStepSettings
from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import RunError, UsageError
from qc_core.files import writing_to
from qc_core.log import log
from qc_core.tuning.slots import ATTEMPT, SLOT, attempts_by_slot, is_given_up, is_lost

STORAGE_VARIABLE = "QC_STUDY_STORAGE"
DIRECTION = "maximize"
# Trials drawn at random before the sampler models what they showed.
_RANDOM_TRIALS = 4

optuna.logging.set_verbosity(optuna.logging.WARNING)
# Optuna calls heartbeats an experiment.
warnings.filterwarnings("ignore", category=ExperimentalWarning)


class Heartbeat(NamedTuple):
    """How workers that share a database show that they live.

    Attributes:
        interval: whole seconds between two signs of life.
        grace: whole seconds without one after which a worker is taken for dead.
    """

    interval: int
    grace: int


HEARTBEAT = Heartbeat(interval=30, grace=120)


class _Database(RDBStorage):
    """Optuna's database, whose heartbeats outlast a restart of its server."""

    def record_heartbeat(self, trial_id: int) -> None:
        # The next one comes soon; in Optuna, one that fails is the last.
        with suppress(StorageInternalError):
            super().record_heartbeat(trial_id)


def journal_of(storage: str) -> Path | None:
    """The file that trials are kept in, for processes on one machine, or None for a database.

    Args:
        storage: an absolute path, or the URL of a database; if empty, `QC_STUDY_STORAGE` says it.

    Raises:
        UsageError: neither is said.
    """
    path = Path(_location(storage))
    return path if path.is_absolute() else None


def open_storage(storage: str, heartbeat: Heartbeat = HEARTBEAT) -> BaseStorage:
    """Where trials are kept.

    Args:
        storage: as `journal_of` takes it.
        heartbeat: of the workers on many machines; those on one end together.
    """
    if (path := journal_of(storage)) is not None:
        return _open_journal(path)
    with _opening():
        return _Database(
            _location(storage),
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=heartbeat.interval,
            grace_period=heartbeat.grace,
            heartbeat_stale_trial_callback=_tell_lost,
        )


def _open_journal(path: Path) -> JournalStorage:
    """A file of trials, made if it is not there (UsageError: it cannot be one; TransientError: full disk)."""
    try:
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Any JSON may be in a file that is no journal.
        reason = error.strerror if isinstance(error, OSError) else "it holds something else"
        raise UsageError(
            f"{str(path)[:200]} cannot keep a study's trials ({reason}): {STORAGE_VARIABLE} must "
            "be the absolute path of a file that is theirs alone, or the URL of a database"
        ) from error


def _location(storage: str) -> str:
    if location := storage or os.environ.get(STORAGE_VARIABLE):
        return location
    raise UsageError(f"no study storage: set {STORAGE_VARIABLE} to an Optuna storage URL")


def create_study(name: str, storage: str, config: Config) -> None:
    """Make the study with all its trials waiting; the first is the recipe as it stands.

    Called again, it adds only what is missing.
    """
    opened = open_storage(storage)
    with _opening():
        study = optuna.create_study(
            study_name=name, storage=opened, direction=DIRECTION, load_if_exists=True
        )
        planned = attempts_by_slot(study.get_trials(deepcopy=False))
        for slot in range(config.tune.trials):
            if slot not in planned:
                study.enqueue_trial(
                    {} if slot else {name: value for name, (value, _) in _searched(config).items()},
                    user_attrs={SLOT: slot, ATTEMPT: 0},
                )


def load_study(name: str, storage: str, heartbeat: Heartbeat = HEARTBEAT) -> optuna.Study:
    """The study as one worker sees it."""
    opened = open_storage(storage, heartbeat)
    with _opening():
        return optuna.load_study(
            study_name=name,
            storage=opened,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )


def sampler(seed: int) -> optuna.samplers.BaseSampler:
    """What draws a trial's parameters."""
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=_RANDOM_TRIALS, constant_liar=True
    )


def suggest(trial: optuna.Trial, config: Config) -> TrainConfig:
    """The recipe's train config with this trial's values in it."""
    values = {
        name: trial.suggest_float(name, value / factor, value * factor, log=True)
        for name, (value, factor) in _searched(config).items()
    }
    return config.train.changed(**values)


def _searched(config: Config) -> dict[str, tuple[float, float]]:
    """Fields of the train config that trials vary: the recipe's value, and how far around it."""
    train, tune = config.train, config.tune
    searched = {"online_learning_rate": (train.online_learning_rate, tune.learning_rate_factor)}
    settings = train.algorithm
    if isinstance(settings, OneStepSettings) and settings.alpha > 0:
        searched["alpha"] = (settings.alpha, tune.alpha_factor)
    return searched


def _tell_lost(study: optuna.Study, lost: FrozenTrial) -> None:
    """Said by the one worker that found it."""
    slot = lost.user_attrs[SLOT]
    if is_given_up(attempts := attempts_by_slot(study.get_trials(deepcopy=False))[slot]):
        log.info(
            f"trial {slot} was lost with its worker {len(attempts)} times and is given up: "
            "something is wrong with that setting, not with the nodes"
        )
    elif is_lost(lost):
        log.info(f"trial {slot} gives no sign of life: its worker is taken for dead")


@contextmanager
def answering() -> Iterator[None]:
    """A database that goes away is one line that shows no URL: it may hold a password."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _no_answer(error) from error


@contextmanager
def _opening() -> Iterator[None]:
    """The same for whatever opening one may raise."""
    try:
        yield
    except KeyError as error:
        raise RunError("there is no such study in the study storage") from error
    except Exception as error:
        raise _no_answer(error) from error


def _no_answer(error: Exception) -> RunError:
    return RunError(
        f"the study storage does not answer ({type(error).__name__}): check {STORAGE_VARIABLE}"
    )

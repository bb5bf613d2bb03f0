"""The Optuna study that workers share: its storage, its planned trials, its search space."""

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

from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import RunError, UsageError
from qc_core.files import writing_to
from qc_core.log import log
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from qc_core.tuning.describe_study import describe_study
from qc_core.tuning.patience import without_waiting
from qc_core.tuning.slots import ATTEMPT, SLOT, attempts_by_slot, is_given_up, is_lost

STORAGE_VARIABLE = "QC_STUDY_STORAGE"
DIRECTION = "maximize"
# User attribute of a study: what its trials start from.
_START = "start"
# Random trials before the sampler models their results.
_RANDOM_TRIALS = 4

optuna.logging.set_verbosity(optuna.logging.WARNING)
# Optuna marks heartbeats as experimental.
warnings.filterwarnings("ignore", category=ExperimentalWarning)


class Heartbeat(NamedTuple):
    """How workers that share a database show that they are alive.

    Attributes:
        interval: seconds between two heartbeats.
        grace: seconds without a heartbeat after which a worker counts as dead.
    """

    interval: int
    grace: int


HEARTBEAT = Heartbeat(interval=30, grace=120)


class _Database(RDBStorage):
    """Optuna's database storage, with heartbeats that survive a restart of the server."""

    def record_heartbeat(self, trial_id: int) -> None:
        # The next heartbeat comes soon. Without this, a failure would end Optuna's thread.
        with without_waiting(), suppress(StorageInternalError):
            super().record_heartbeat(trial_id)


def journal_of(storage: str) -> Path | None:
    """Return the journal file of a study storage on one machine, or None for a database.

    Args:
        storage: an absolute path, or the URL of a database; if empty, `QC_STUDY_STORAGE`.

    Raises:
        UsageError: both are empty.
    """
    path = Path(_location(storage))
    return path if path.is_absolute() else None


def study_store(storage: str) -> ObjectStore:
    """Return the store for the checkpoints of a study's trials.

    Args:
        storage: as for `journal_of`. A journal has a folder next to it; workers that share a
            database share `QC_STORE`.
    """
    journal = journal_of(storage)
    return FolderStore(Path(f"{journal}.trials")) if journal else open_store()


def open_storage(storage: str, heartbeat: Heartbeat = HEARTBEAT) -> BaseStorage:
    """Open a study storage.

    Args:
        storage: as for `journal_of`.
        heartbeat: of workers that share a database; workers on one machine end together.
    """
    if (path := journal_of(storage)) is not None:
        return _open_journal(path)
    with _opening():
        return _Database(
            _location(storage),
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=heartbeat.interval,
            grace_period=heartbeat.grace,
            heartbeat_stale_trial_callback=_log_lost,
        )


def _open_journal(path: Path) -> JournalStorage:
    """Open or create a journal file (UsageError: not a journal; TransientError: full disk)."""
    try:
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # A file that is not a journal may contain any JSON.
        reason = error.strerror if isinstance(error, OSError) else "it contains something else"
        raise UsageError(
            f"{str(path)[:200]} cannot be a study storage ({reason}): {STORAGE_VARIABLE} must "
            "be the absolute path of a file for studies only, or the URL of a database"
        ) from error


def _location(storage: str) -> str:
    if location := storage or os.environ.get(STORAGE_VARIABLE):
        return location
    raise UsageError(f"no study storage: set {STORAGE_VARIABLE} to an Optuna storage URL")


def create_study(
    name: str, storage: str, config: Config, reports_success: bool | None = None
) -> None:
    """Create the study with all its trials waiting; trial 0 has the recipe's own settings.

    A repeated call adds only the missing trials.

    Args:
        reports_success: whether trials are compared by success, or by return; None if it is
            unknown.
    """
    opened = open_storage(storage)
    with _opening():
        study = optuna.create_study(
            study_name=name, storage=opened, direction=DIRECTION, load_if_exists=True
        )
        describe_study(study, name, config, reports_success)
        planned = attempts_by_slot(study.get_trials(deepcopy=False))
        for slot in range(config.tune.trials):
            if slot not in planned:
                study.enqueue_trial(
                    {} if slot else {name: value for name, (value, _) in _searched(config).items()},
                    user_attrs={SLOT: slot, ATTEMPT: 0},
                )


def load_study(name: str, storage: str, heartbeat: Heartbeat = HEARTBEAT) -> optuna.Study:
    """Return the study for one worker (RunError: it does not exist)."""
    opened = open_storage(storage, heartbeat)
    with _opening():
        return optuna.load_study(
            study_name=name,
            storage=opened,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )


def require_same_start(study: optuna.Study, weights: str, dataset: str) -> None:
    """Refuse a worker whose trials could not be compared with those of the study.

    Args:
        weights, dataset: digests of the pretrained weights and of the dataset.

    Raises:
        UsageError: the study was started from others.
    """
    start = {"weights": weights, "dataset": dataset}
    if study.user_attrs.get(_START, start) != start:
        raise UsageError(
            f"the study {study.study_name} was started from another pretrained checkpoint or other "
            "data: start a new run"
        )
    study.set_user_attr(_START, start)


def sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that draws the parameters of a trial."""
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=_RANDOM_TRIALS, constant_liar=True
    )


def suggest(trial: optuna.Trial, config: Config) -> TrainConfig:
    """Return the train settings of a trial: the recipe's with the parameters of the trial."""
    values = {
        name: trial.suggest_float(name, value / factor, value * factor, log=True)
        for name, (value, factor) in _searched(config).items()
    }
    return config.train.changed(**values)


def _searched(config: Config) -> dict[str, tuple[float, float]]:
    """Return the searched train settings: the recipe's value and the factor around it."""
    train, tune = config.train, config.tune
    searched = {"online_learning_rate": (train.online_learning_rate, tune.learning_rate_factor)}
    for name in train.algorithm.searched:
        if (value := getattr(train.algorithm, name)) > 0:
            searched[name] = (value, tune.alpha_factor)
    return searched


def _log_lost(study: optuna.Study, lost: FrozenTrial) -> None:
    """Log a lost attempt; Optuna calls this in the worker that found it."""
    slot = lost.user_attrs[SLOT]
    if is_given_up(attempts := attempts_by_slot(study.get_trials(deepcopy=False))[slot]):
        log.info(
            f"trial {slot} was lost with its worker {len(attempts)} times and is given up: "
            "its setting is probably the cause, not the nodes"
        )
    elif is_lost(lost):
        log.info(f"trial {slot} is marked as failed: its worker has stopped sending heartbeats")


@contextmanager
def answering() -> Iterator[None]:
    """Turn errors of the study storage into one line without its URL, which has a password."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _no_answer(error) from error


@contextmanager
def _opening() -> Iterator[None]:
    """As `answering`, for anything that opening a storage may raise."""
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

"""One worker of a study: runs trials until all of them have ended."""

from __future__ import annotations

import contextlib
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.envs.failures import EnvironmentFailed
from qc_core.errors import TrainingDiverged, TransientError
from qc_core.files import require_new_file
from qc_core.log import log
from qc_core.scratch import scratch_folder
from qc_core.store.objects import ObjectStore
from qc_core.tracking.open import TrackedRun, open_metrics, run_of
from qc_core.training.checkpoint import read_checkpoint, weights_digest
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.device import (
    DEVICE_FAULTS,
    share_cpu,
)
from qc_core.training.fine_tune import fine_tune
from qc_core.training.pool import training_pool
from qc_core.training.score import Score
from qc_core.tuning.optuna_private import heartbeats
from qc_core.tuning.patience import without_waiting
from qc_core.tuning.queue import end_attempt, end_attempts_of, finish, take_trial
from qc_core.tuning.slots import CHECKPOINT_STEP, DIVERGED, ERROR, FAILED, REASON, SCORES, SLOT
from qc_core.tuning.study import (
    HEARTBEAT,
    Heartbeat,
    answering,
    load_study,
    require_same_start,
    study_store,
    suggest,
)
from qc_core.tuning.trial_checkpoints import put_result, trial_checkpoints
from qc_core.tuning.trials import read_trials, write_worker_trials

# What lowers the number of processes of a worker.
_FEWER = "--tune.trials-per-gpu; on a cluster, raise --input resources_memory"


def run_worker(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    output: Path,
    *,
    study_name: str,
    storage: str,
    worker: int,
    run_id: str = "",
    heartbeat: Heartbeat = HEARTBEAT,
    tracked: TrackedRun | None = None,
) -> None:
    """Run trials of the shared study, `config.tune.trials_per_gpu` at a time.

    Each trial's final checkpoint is in the store before the study says that the trial is complete.
    Trials side by side run in processes that share this process's cores and its device; each takes
    the next trial when it has finished one.

    Args:
        checkpoint: checkpoint folder of the offline phase.
        output: file for the results of this worker's trials.
        run_id: the run of this worker; runs that continue one another share a study.
        tracked: that the metrics of the trials belong to; None writes them to `OUTPUT.metrics`.

    Raises:
        UsageError: the study was started from another checkpoint or other data.
        TransientError: a process was killed; the others are interrupted.
        RunError: the study storage or the store does not answer.
    """
    require_new_file(output)
    read_checkpoint(checkpoint)
    share_cpu()
    study_store(storage).require_writable()
    with answering():
        study = load_study(study_name, storage, heartbeat)
        require_same_start(study, weights_digest(checkpoint), open_dataset(dataset).digest)
        end_attempts_of(study, worker, run_id)
    work = _Work(
        config,
        checkpoint,
        dataset,
        study_name,
        storage,
        worker,
        run_id,
        heartbeat,
        tracked or run_of(output, study_name),
    )
    count = min(config.tune.trials_per_gpu, config.tune.trials)
    if count == 0:
        log.info("no trials: the policy is not fine-tuned")
    elif count == 1:
        work.run_trials()
    else:
        with training_pool(count, fewer=_FEWER) as pool:
            for future in as_completed([pool.submit(work.run_trials) for _ in range(count)]):
                future.result()
    with answering():
        trials = read_trials(load_study(study_name, storage, heartbeat))
    write_worker_trials(output, [trial for trial in trials if trial.worker == worker])


@dataclass(frozen=True, slots=True)
class _Work:
    config: Config
    checkpoint: Path
    dataset: Path
    study_name: str
    storage: str
    worker: int
    run_id: str
    heartbeat: Heartbeat
    tracked: TrackedRun

    def run_trials(self) -> None:
        """Run one trial after the other until all have ended."""
        study = load_study(self.study_name, self.storage, self.heartbeat)
        store = study_store(self.storage)
        with answering():
            while (trial := self._take(study)) is not None:
                self._run_trial(study, store, trial)

    def _take(self, study: optuna.Study) -> optuna.Trial | None:
        return take_trial(study, self.config.seed, self.worker, self.run_id)

    def _run_trial(self, study: optuna.Study, store: ObjectStore, trial: optuna.Trial) -> None:
        slot = trial.user_attrs[SLOT]
        try:
            with heartbeats(trial), scratch_folder("trial") as scratch:
                checkpoints = trial_checkpoints(
                    store,
                    self.study_name,
                    slot,
                    trial.number,
                    scratch,
                    partial(_note_checkpoint, trial),
                )
                self._fine_tune(study, store, trial, checkpoints)
        except UpdateFinishedTrialError:
            log.info(
                f"trial {slot} was reassigned after this worker missed its heartbeats; its result "
                "here is discarded"
            )
        except BaseException as error:
            # Other workers need not wait until the heartbeats are missing.
            with without_waiting(), contextlib.suppress(StorageInternalError):
                end_attempt(study, trial, interrupted=isinstance(error, KeyboardInterrupt))
            raise

    def _fine_tune(
        self,
        study: optuna.Study,
        store: ObjectStore,
        trial: optuna.Trial,
        checkpoints: CheckpointStore,
    ) -> None:
        slot, train = trial.user_attrs[SLOT], suggest(trial, self.config)
        scores: list[Score] = []

        def on_score(score: Score) -> None:
            scores.append(score)
            trial.report(score.value, score.online_step)
            trial.set_user_attr(SCORES, msgspec.to_builtins(scores))
            if score.online_step < train.online_steps and trial.should_prune():
                raise optuna.TrialPruned

        state, value = TrialState.COMPLETE, None
        try:
            with open_metrics(self.tracked, f"trial-{slot}", self.config, trial.params) as metrics:
                result = fine_tune(
                    replace(self.config, train=train),
                    self.checkpoint,
                    self.dataset,
                    trial=slot,
                    on_score=on_score,
                    checkpoints=checkpoints,
                    metrics=metrics,
                )
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except (StorageInternalError, UpdateFinishedTrialError):
            raise
        except (TransientError, OSError, MemoryError, *DEVICE_FAULTS):
            # The machine failed, not the setting: the attempt is lost and the slot tried again. An
            # environment that memory killed is such a failure.
            raise
        except (TrainingDiverged, EnvironmentFailed) as error:
            # A setting that diverges is a result. The study continues, with a new environment.
            log.warning(f"trial {slot} failed: {error}")
            diverged = isinstance(error, TrainingDiverged)
            trial.set_user_attr(REASON, DIVERGED if diverged else FAILED)
            trial.set_user_attr(ERROR, str(error))
            state = TrialState.FAIL
        except Exception as error:
            trial.set_user_attr(REASON, FAILED)
            trial.set_user_attr(ERROR, " ".join(str(error).split()))
            raise
        else:
            put_result(store, self.study_name, slot, trial.number, result)
            value = scores[-1].value
        finish(study, trial, state, value)
        if state != TrialState.FAIL:
            # The last checkpoint of a failed trial shows how it failed.
            checkpoints.remove()
        if scores:
            log.info(f"trial {slot} {state.name.lower()}: {scores[-1].text}")


def _note_checkpoint(trial: optuna.Trial, step: int) -> None:
    """Note the step of the next checkpoint in the study.

    Raises:
        UpdateFinishedTrialError: this worker counts as dead, and the trial was reassigned.
    """
    # A database that does not answer for a while need not end a trial that runs well without it.
    with without_waiting(), contextlib.suppress(StorageInternalError):
        trial.set_user_attr(CHECKPOINT_STEP, step)

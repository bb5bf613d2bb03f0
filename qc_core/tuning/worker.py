"""One worker of the study: it takes trials until every one has ended."""

from __future__ import annotations

import contextlib
import tempfile
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from qc_core.config.settings import Config
from qc_core.errors import TrainingDiverged, TransientError
from qc_core.files import require_new_file, write_json
from qc_core.log import log
from qc_core.processes import worker_pool
from qc_core.store.objects import ObjectStore
from qc_core.training.device import (
    DEVICE_FAULTS,
    share_cpu,
    take_threads,
    threads_per_worker,
)
from qc_core.training.fine_tune import Score, fine_tune
from qc_core.tuning.checkpointing import TrialCheckpointStore, study_store
from qc_core.tuning.queue import finish, heartbeats, take_trial
from qc_core.tuning.slots import DIVERGED, FAILED, KEPT, REASON, SCORES, SLOT
from qc_core.tuning.study import HEARTBEAT, Heartbeat, answering, load_study, suggest
from qc_core.tuning.trials import read_trials


def run_worker(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    output: Path,
    *,
    study_name: str,
    storage: str,
    worker: int,
    heartbeat: Heartbeat = HEARTBEAT,
) -> None:
    """Run trials of the shared study, `config.tune.trials_per_gpu` at a time.

    Each trial's checkpoint is in the store before the study hears that it is complete. Writes
    what this worker's trials came to as JSON to `output`. Trials side by side are run by
    processes that share this one's cores and its device; each takes the next trial as soon as it
    has ended one.

    Raises:
        TransientError: a process was killed, and the others' work is broken off.
        RunError: the study storage or the store does not answer.
    """
    require_new_file(output)
    share_cpu()
    study_store(storage).require_writable()
    work = _Work(config, checkpoint, dataset, study_name, storage, worker, heartbeat)
    count = min(config.tune.trials_per_gpu, config.tune.trials)
    if count == 1:
        work.run_trials()
    else:
        with worker_pool(count, take_threads, threads_per_worker(count)) as pool:
            for future in as_completed([pool.submit(work.run_trials) for _ in range(count)]):
                future.result()
    with answering():
        trials = read_trials(load_study(study_name, storage, heartbeat))
    write_json(output, [trial for trial in trials if trial["worker"] == worker])


@dataclass(frozen=True, slots=True)
class _Work:
    config: Config
    checkpoint: Path
    dataset: Path
    study_name: str
    storage: str
    worker: int
    heartbeat: Heartbeat

    def run_trials(self) -> None:
        """One trial after the other until every one has ended."""
        study = load_study(self.study_name, self.storage, self.heartbeat)
        store = study_store(self.storage)
        with answering():
            while (trial := take_trial(study, self.config.seed, self.worker)) is not None:
                self._run_trial(study, store, trial)

    def _run_trial(self, study: optuna.Study, store: ObjectStore, trial: optuna.Trial) -> None:
        slot = trial.user_attrs[SLOT]
        try:
            with heartbeats(trial), tempfile.TemporaryDirectory(prefix="qc-trial-") as scratch:
                kept = TrialCheckpointStore(
                    store,
                    self.study_name,
                    slot,
                    trial.number,
                    Path(scratch),
                    partial(_show_progress, trial),
                )
                self._fine_tune(study, trial, kept)
        except UpdateFinishedTrialError:
            log.info(
                f"trial {slot} was taken for lost while this worker slept, and is another's now: "
                "what it came to here is discarded"
            )
        except BaseException:
            # Others need not wait until they miss this worker.
            with contextlib.suppress(StorageInternalError, UpdateFinishedTrialError):
                finish(study, trial, TrialState.FAIL)
            raise

    def _fine_tune(
        self, study: optuna.Study, trial: optuna.Trial, kept: TrialCheckpointStore
    ) -> None:
        slot, train = trial.user_attrs[SLOT], suggest(trial, self.config)
        scores: list[Score] = []

        def on_score(score: Score) -> None:
            scores.append(score)
            trial.report(score.value, score.online_step)
            trial.set_user_attr(SCORES, [score._asdict() for score in scores])
            if score.online_step < train.online_steps and trial.should_prune():
                raise optuna.TrialPruned

        state, value = TrialState.COMPLETE, None
        try:
            result = fine_tune(
                replace(self.config, train=train),
                self.checkpoint,
                self.dataset,
                trial=slot,
                on_score=on_score,
                kept=kept,
            )
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except TrainingDiverged as error:
            # A setting that diverges is a result: the trial fails, the study goes on.
            log.info(f"trial {slot} failed: {error}")
            trial.set_user_attr(REASON, DIVERGED)
            state = TrialState.FAIL
        except (StorageInternalError, UpdateFinishedTrialError):
            raise
        except (TransientError, OSError, MemoryError, *DEVICE_FAULTS):
            # The machine's fault and not the setting's: it is lost, and another may do better.
            raise
        except Exception:
            trial.set_user_attr(REASON, FAILED)
            raise
        else:
            kept.put_result(result)
            value = scores[-1].value
        finish(study, trial, state, value)
        kept.remove()
        if scores:
            log.info(f"trial {slot} {state.name.lower()}: {scores[-1].words}")


def _show_progress(trial: optuna.Trial, step: int) -> None:
    """Note what will be kept; a worker that was taken for dead learns it here."""
    # A database that is away for a while need not end what runs well without it.
    with contextlib.suppress(StorageInternalError):
        trial.set_user_attr(KEPT, step)

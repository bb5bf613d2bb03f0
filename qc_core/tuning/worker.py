"""One worker of the study: it takes trials until none is left and keeps its best."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna

from qc_core.errors import Diverged
from qc_core.files import require_vacant
from qc_core.processes import worker_pool
from qc_core.progress import say
from qc_core.recipes.config import Config
from qc_core.seeds import seeds_for
from qc_core.training.device import share_cpu, take_threads, threads_per_worker
from qc_core.training.fine_tune import FineTuned, Score, fine_tune
from qc_core.tuning.study import load_study, suggest, take_trial
from qc_core.tuning.trials import Record, gather_trials, ranking, write_trials


def run_worker(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    output: Path,
    *,
    study_name: str,
    storage: str,
    worker: int,
) -> None:
    """Run trials of the shared study, `config.tune.trials_per_gpu` at a time.

    Writes `trials.json` with this worker's trials and, if one came to its end, the best of
    them as `checkpoint/`. Trials side by side are run by processes that share this one's cores
    and its device; each takes the next trial as soon as it has ended one.

    Raises:
        WorkFailed: a process was killed; the others' work is broken off.
    """
    require_vacant(output)
    share_cpu()
    count = min(config.tune.trials_per_gpu, config.tune.trials)
    run = partial(_run_trials, config, checkpoint, dataset, study_name, storage)
    if count == 1:
        run(worker, output)
        return
    with tempfile.TemporaryDirectory(prefix="qc-trials-") as scratch:
        folders = [Path(scratch) / f"place-{place}" for place in range(count)]
        with worker_pool(count, take_threads, threads_per_worker(count)) as pool:
            futures = [
                pool.submit(run, worker * count + place, folder)
                for place, folder in enumerate(folders)
            ]
            for future in as_completed(futures):
                future.result()
        gather_trials(folders, output)


def _run_trials(
    config: Config,
    checkpoint: Path,
    dataset: Path,
    study_name: str,
    storage: str,
    place: int,
    output: Path,
) -> None:
    """One trial after the other until none is left; `place` decides the sampler's seed."""
    study = load_study(study_name, storage, seeds_for("trial", config.seed, 1, offset=place)[0])
    records: list[Record] = []
    best: tuple[int, FineTuned] | None = None
    best_rank = None
    while (trial := take_trial(study)) is not None:
        record, result = _run_trial(config, study, trial, checkpoint, dataset)
        records.append(record)
        if result is not None and (best_rank is None or ranking(record) > best_rank):
            best, best_rank = (trial.number, result), ranking(record)
    write_trials(output, records, best)


def _run_trial(
    config: Config, study: optuna.Study, trial: optuna.Trial, checkpoint: Path, dataset: Path
) -> tuple[Record, FineTuned | None]:
    train = suggest(trial, config)
    scores: list[Score] = []

    def on_score(score: Score) -> None:
        scores.append(score)
        trial.report(score.success, score.online_step)
        if score.online_step < train.online_steps and trial.should_prune():
            raise optuna.TrialPruned

    start = time.monotonic()
    result: FineTuned | None = None
    try:
        result = fine_tune(
            replace(config, train=train),
            checkpoint,
            dataset,
            trial=trial.number,
            on_score=on_score,
        )
        state = optuna.trial.TrialState.COMPLETE
        study.tell(trial, scores[-1].success)
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
        study.tell(trial, state=state)
    except Diverged as error:
        # A setting that diverges is a result: the trial fails, the study goes on.
        say(f"trial {trial.number} failed: {error}")
        state = optuna.trial.TrialState.FAIL
        study.tell(trial, state=state)
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    record: Record = {
        "trial": trial.number,
        "state": state.name.lower(),
        "parameters": trial.params,
        "scores": [score._asdict() for score in scores],
        "seconds": time.monotonic() - start,
    }
    if scores:
        record |= {"success": scores[-1].success, "steps": scores[-1].steps}
        say(
            f"trial {trial.number} {record['state']}: success {scores[-1].success:.0%}, "
            f"{scores[-1].steps:.0f} steps"
        )
    return record, result

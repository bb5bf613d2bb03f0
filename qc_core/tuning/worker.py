"""One worker of the study: it takes trials until none is left and keeps its best."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from qc_core.errors import WorkFailed
from qc_core.files import require_vacant, staged_folder, write_json
from qc_core.progress import say
from qc_core.recipes.config import Config
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import save_checkpoint
from qc_core.training.device import share_cpu
from qc_core.training.fine_tune import FineTuned, Score, fine_tune
from qc_core.tuning.study import load_study, suggest, take_trial

TRIALS = "trials.json"
CHECKPOINT = "checkpoint"


class _Best(NamedTuple):
    rank: tuple[float, float]
    trial: int
    result: FineTuned


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
    """Run trials of the shared study.

    Writes `trials.json` with this worker's trials and, if one came to its end, the best of
    them as `checkpoint/`.
    """
    require_vacant(output)
    share_cpu()
    study = load_study(study_name, storage, seeds_for("trial", config.seed, 1, offset=worker)[0])
    records: list[dict[str, Any]] = []
    best: _Best | None = None
    while (trial := take_trial(study)) is not None:
        record, result = _run_trial(config, study, trial, checkpoint, dataset)
        records.append(record)
        if result is not None:
            rank = ranking(record)
            if best is None or rank > best.rank:
                best = _Best(rank, trial.number, result)
    with staged_folder(output) as staging:
        write_json(staging / TRIALS, records)
        if best is not None:
            save_checkpoint(
                staging / CHECKPOINT, best.result.agent, best.result.info, best.result.curve
            )
            write_json(staging / "best.json", {"trial": best.trial})


def ranking(record: dict[str, Any]) -> tuple[float, float]:
    """Trials compare by success, then by how few steps they took."""
    return record["success"], -record["steps"]


def _run_trial(
    config: Config, study: optuna.Study, trial: optuna.Trial, checkpoint: Path, dataset: Path
) -> tuple[dict[str, Any], FineTuned | None]:
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
    except WorkFailed as error:
        # A setting that diverges is a result: the trial fails, the study goes on.
        say(f"trial {trial.number} failed: {error}")
        state = optuna.trial.TrialState.FAIL
        study.tell(trial, state=state)
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    record = {
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

"""The trials of a study and their results, as documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState

from qc_core.documents import Document, convert, read, to_json, with_keys_renamed, write
from qc_core.errors import UsageError
from qc_core.files import read_json, write_json
from qc_core.training.score import Score, scores_from
from qc_core.tuning.optuna_private import fixed_parameters
from qc_core.tuning.selection import Selection
from qc_core.tuning.slots import (
    ERROR,
    REASON,
    SCORES,
    WORKER,
    attempts_by_slot,
    deciding_attempt,
    is_lost,
)

COMPLETE, PRUNED = "complete", "pruned"
_HISTORY_SCHEMA = 2
# Searched settings, by their names in earlier releases.
_RENAMED_PARAMETERS = {"distillation_weight": "alpha"}


class Trial(Document, frozen=True, kw_only=True, omit_defaults=True):
    """One planned trial of a study and its result so far.

    Attributes:
        trial: number of the trial in its study; trial 0 has the recipe's own settings.
        state: complete, pruned, diverged, failed or lost (with its worker); running or waiting in
            a study that has not ended.
        attempts: workers that have run the trial.
        optuna_trial: number of Optuna's trial for the last attempt.
        worker: number of the last worker, None before the first one.
        parameters: searched settings, by field name.
        scores: of all evaluations, in order.
        seconds: duration of the last attempt.
        success, steps, episode_return, reports_success: the last score; None without a score.
        error: why the last attempt diverged or failed; empty otherwise.
    """

    trial: int
    state: str
    attempts: int
    optuna_trial: int
    worker: int | None
    parameters: dict[str, float]
    scores: list[Score]
    seconds: float
    success: float | None = None
    steps: float | None = None
    episode_return: float | None = msgspec.field(name="return", default=None)
    reports_success: bool | None = None
    error: str = ""

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        """Rename the keys of schema 1 in the trial and its scores."""
        renamed = with_keys_renamed(content, {"success-told": "reports-success"})
        parameters = with_keys_renamed(renamed.get("parameters"), _RENAMED_PARAMETERS)
        return {**renamed, "parameters": parameters, "scores": scores_from(renamed.get("scores"))}


class StudyRequest(Document, frozen=True, kw_only=True):
    """What a study was asked to do.

    Attributes:
        config: the resolved configuration.
        weights: SHA-256 of the pretrained weights.
    """

    config: dict[str, Any]
    weights: str
    dataset_digest: str


class StudyHistory(Document, frozen=True, kw_only=True):
    """All trials of a study.

    Attributes:
        best_trial: None if no trial is complete.
        selection: how the trials compare with the offline policy; None if no trial is complete, for
            a method without an offline phase, and in files of early releases.
        request: of a study that `qc tune` ran; None for a study of the pipeline.
    """

    schema_version: int = _HISTORY_SCHEMA
    best_trial: int | None
    trials: list[Trial]
    selection: Selection | None = None
    request: StudyRequest | None = None

    @property
    def fine_tuning_helped(self) -> bool:
        """Whether the best trial is published, and not the offline policy."""
        if self.selection is not None:
            return self.selection.helped
        return self.best_trial is not None

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        """Convert trials of schema 1, which has no version number."""
        trials = content.get("trials")
        if not isinstance(trials, list):
            return content
        converted = [
            Trial.converted_from_older(trial, what) if isinstance(trial, dict) else trial
            for trial in trials
        ]
        return {**content, "trials": converted}


def parameters_of(attempt: FrozenTrial) -> dict[str, float]:
    """Return the parameters that an attempt was enqueued with or has drawn."""
    return with_keys_renamed({**fixed_parameters(attempt), **attempt.params}, _RENAMED_PARAMETERS)


def read_trials(study: optuna.Study) -> list[Trial]:
    """Return one document per planned trial, in their order."""
    slots = attempts_by_slot(study.get_trials(deepcopy=False))
    return [_trial(slot, attempts) for slot, attempts in slots.items()]


def has_running(study: optuna.Study, worker: int) -> bool:
    """Return whether a worker has a running attempt."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(attempt.user_attrs.get(WORKER) == worker for attempt in running)


def write_history(
    path: Path,
    best: Trial | None,
    trials: list[Trial],
    selection: Selection | None = None,
    request: StudyRequest | None = None,
) -> None:
    """Write the trials of a study that has ended."""
    write(
        path,
        StudyHistory(
            best_trial=best and best.trial, trials=trials, selection=selection, request=request
        ),
    )


def read_history(path: Path) -> StudyHistory:
    """Read what `write_history` or an earlier release wrote (UsageError: damaged)."""
    return read(path, StudyHistory)


def write_worker_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write the trials of one worker, a JSON list."""
    write_json(path, [to_json(trial) for trial in trials])


def read_worker_trials(path: Path) -> list[Trial]:
    """Read what `write_worker_trials` or an earlier release wrote (UsageError: damaged)."""
    content = read_json(path)
    if not isinstance(content, list):
        raise UsageError(f"{path} must contain a JSON list, got {type(content).__name__}")
    return [convert(trial, Trial, str(path)) for trial in content]


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the best complete trial; of equal ones the first, which is the recipe's own."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    return max(complete, key=lambda trial: (ranking(trial), -trial.trial), default=None)


def ranking(trial: Trial) -> tuple[float, float, float]:
    """Return the key by which trials compare: success, then fewer steps, then return.

    Without a success signal, success and steps are equal, and the return decides.
    """
    assert trial.success is not None
    assert trial.steps is not None
    assert trial.episode_return is not None
    return trial.success, -trial.steps, trial.episode_return


def _trial(slot: int, attempts: list[FrozenTrial]) -> Trial:
    attempt = deciding_attempt(attempts) or attempts[-1]
    attributes = attempt.user_attrs
    scores = scores_from(attributes.get(SCORES, []))
    last = scores[-1] if scores else None
    return Trial(
        trial=slot,
        state="lost" if is_lost(attempt) else attributes.get(REASON, attempt.state.name.lower()),
        attempts=len(attempts),
        optuna_trial=attempt.number,
        worker=attributes.get(WORKER),
        parameters=parameters_of(attempt),
        scores=scores,
        seconds=attempt.duration.total_seconds() if attempt.duration else 0.0,
        success=last and last.success,
        steps=last and last.steps,
        episode_return=last and last.episode_return,
        reports_success=last and last.reports_success,
        error=attributes.get(ERROR, ""),
    )

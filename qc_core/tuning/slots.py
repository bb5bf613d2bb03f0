"""Planned trials (slots) and their attempts.

A study plans its trials as numbered slots. Each attempt at a slot is one of Optuna's trials. If a
worker dies, its attempt is lost, and the slot gets another attempt with the same parameters. A slot
has ended when an attempt has a result, or after too many lost attempts.
"""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

# Names of Optuna's user attributes. CHECKPOINT_STEP is the step of the newest checkpoint.
SLOT, ATTEMPT, WORKER, SCORES, CHECKPOINT_STEP = "slot", "attempt", "worker", "scores", "kept-step"
# The run of an attempt's worker: runs that continue one another share a study.
RUN = "run"
# Set for a lost attempt whose worker was interrupted on purpose: its setting is not to blame.
INTERRUPTED = "interrupted"
# Why an attempt failed; an attempt that failed without a reason was lost with its worker.
REASON = "reason"
DIVERGED, FAILED, DUPLICATE = "diverged", "failed", "duplicate"
# What a diverged or failed attempt reported.
ERROR = "error"

# After as many losses without a new checkpoint, the setting is to blame and not the node.
MAX_LOSSES = 3


def attempts_by_slot(trials: Iterable[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """Return the attempts at each slot in their order, without duplicates."""
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if SLOT in trial.user_attrs and trial.user_attrs.get(REASON) != DUPLICATE:
            slots.setdefault(trial.user_attrs[SLOT], []).append(trial)
    return dict(sorted(slots.items()))


def is_lost(trial: FrozenTrial) -> bool:
    """Return whether an attempt ended because its worker died."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def deciding_attempt(attempts: list[FrozenTrial]) -> FrozenTrial | None:
    """Return the first attempt at a slot that has a result, is running or waits."""
    return next((trial for trial in attempts if not is_lost(trial)), None)


def is_given_up(attempts: list[FrozenTrial]) -> bool:
    """Return whether a slot has lost too many workers to be tried again."""
    return deciding_attempt(attempts) is None and _losses_in_place(attempts) >= MAX_LOSSES


def _losses_in_place(attempts: list[FrozenTrial]) -> int:
    """Return the number of losses since the last attempt that got further than those before it."""
    best_step, losses = 0, 0
    for attempt in attempts:
        if attempt.user_attrs.get(INTERRUPTED):
            continue
        step = attempt.user_attrs.get(CHECKPOINT_STEP, 0)
        losses = 1 if step > best_step else losses + 1
        best_step = max(best_step, step)
    return losses


def has_ended(attempts: list[FrozenTrial]) -> bool:
    """Return whether a slot will get no further attempts or results."""
    trial = deciding_attempt(attempts)
    return is_given_up(attempts) if trial is None else trial.state.is_finished()

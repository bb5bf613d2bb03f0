"""Planned trials and their attempts.

The study plans its trials as numbered slots. Each attempt at a slot is a trial of Optuna's: one
whose worker died leaves the slot open for another with the same parameters. A slot has ended once
an attempt came to a result, or once it ended too many workers.
"""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

# Names of user attributes.
SLOT, ATTEMPT, WORKER, SCORES, KEPT = "slot", "attempt", "worker", "scores", "kept-step"
# Why an attempt failed; one that failed without a reason was lost with its worker.
REASON = "reason"
DIVERGED, FAILED, DUPLICATE = "diverged", "failed", "duplicate"

# Beyond, without any progress in between, the setting is to blame and not the node.
MOST_LOSSES = 3


def attempts_by_slot(trials: Iterable[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """The attempts at each slot in their order, without those that were one too many."""
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if SLOT in trial.user_attrs and trial.user_attrs.get(REASON) != DUPLICATE:
            slots.setdefault(trial.user_attrs[SLOT], []).append(trial)
    return dict(sorted(slots.items()))


def is_lost(trial: FrozenTrial) -> bool:
    """Whether an attempt ended with its worker."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def decisive(attempts: list[FrozenTrial]) -> FrozenTrial | None:
    """The first attempt at a slot that has come to a result, is under way or waits."""
    return next((trial for trial in attempts if not is_lost(trial)), None)


def is_given_up(attempts: list[FrozenTrial]) -> bool:
    """Whether a slot ended too many workers to be tried again."""
    return decisive(attempts) is None and _losses_in_place(attempts) >= MOST_LOSSES


def _losses_in_place(attempts: list[FrozenTrial]) -> int:
    """Losses since one last kept more than those before it: that one cannot be the setting's."""
    kept, losses = 0, 0
    for attempt in attempts:
        step = attempt.user_attrs.get(KEPT, 0)
        losses = 1 if step > kept else losses + 1
        kept = max(kept, step)
    return losses


def has_ended(attempts: list[FrozenTrial]) -> bool:
    """Whether nothing more will come of a slot."""
    trial = decisive(attempts)
    return is_given_up(attempts) if trial is None else trial.state.is_finished()

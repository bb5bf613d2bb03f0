"""The result of a run in one sentence, which the report, `qc run`, KFP and the webhook show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qc_core.envs.episode_result import counted_steps
from qc_core.evaluation.result import OFFLINE, ONLINE, UNTRAINED, Evaluation, PolicyResult
from qc_core.publish.promotion import Promotion
from qc_core.retraining.new_data import NewData
from qc_core.statistics import Estimate, mean, success_gain

if TYPE_CHECKING:
    # Every step imports this module; it must not wait for Optuna.
    from qc_core.tuning.trials import StudyHistory


def verdict(evaluation: Evaluation, history: StudyHistory, promotion: Promotion) -> str:
    """Return what the run has learned and published, as one sentence that ends with a full stop."""
    learned = _learned(evaluation, history)
    return f"{learned}; {promotion.name}:{promotion.version} is {promotion.became}."


def verdict_without_training(found: NewData) -> str:
    """Return the result of a retraining that has found no new data, as one sentence."""
    return f"{found.text[0].upper()}{found.text[1:]}, so no policy was trained."


def published_policy(evaluation: Evaluation, history: StudyHistory) -> PolicyResult | None:
    """Return the results of the policy that was published; None if no episode was played."""
    before = evaluation.policy(OFFLINE) or evaluation.policy(UNTRAINED)
    if history.fine_tuning_helped:
        return evaluation.policy(ONLINE) or before
    return before


def _learned(evaluation: Evaluation, history: StudyHistory) -> str:
    """Return whether fine-tuning helped, with the results of the final comparison."""
    if not evaluation.policies:
        return "No episode was played, so there are only offline figures"
    over = f"{evaluation.episodes} unseen episode{'s' if evaluation.episodes > 1 else ''}"
    online, offline = evaluation.policy(ONLINE), evaluation.policy(OFFLINE)
    if online is None:
        last = evaluation.policies[-1]
        if history.trials and history.best_trial is None:
            return (
                "Fine-tuning failed in every trial, so the offline policy is published: "
                f"{last.name} gives {_result(last)} in {over}"
            )
        return f"Without fine-tuning, {last.name} gives {_result(last)} in {over}"
    if offline is None:
        return f"Training online from scratch gives {_result(online)} in {over}"
    if not history.fine_tuning_helped:
        return (
            f"Fine-tuning did not help beyond chance ({_result(offline)} before and "
            f"{_result(online)} after it in {over}), so the offline policy is published"
        )
    change, gain = _change(offline, online, evaluation.episode_limit)
    if gain.value > 0:
        return f"Fine-tuning helped: {change} in {over}"
    return (
        f"Fine-tuning helped in the selection, but not in the final comparison: {change} in {over}"
    )


def _result(policy: PolicyResult) -> str:
    if policy.reports_success:
        return f"{policy.success.value:.0%} success"
    return f"a return of {policy.episode_return.value:.1f}"


def _change(offline: PolicyResult, online: PolicyResult, limit: int) -> tuple[str, Estimate]:
    """Return how the fine-tuned policy differs, and its gain; both are paired by episode."""
    pairs = list(zip(offline.episode_results, online.episode_results, strict=True))
    if not online.reports_success:
        gain = mean([after.episode_return - before.episode_return for before, after in pairs])
        ends = f"{offline.episode_return.value:.1f} to {online.episode_return.value:.1f}"
        return f"the return {_moved(gain)} from {ends} ({_interval(gain, '.1f')})", gain
    if offline.success.value != online.success.value:
        gain = success_gain(*zip(*((a.success, b.success) for a, b in pairs), strict=True))
        ends = f"{offline.success.value:.0%} to {online.success.value:.0%}"
        return f"success {_moved(gain)} from {ends} ({_interval(gain, '.0f', 100)} points)", gain
    saved = mean(
        [counted_steps(before, limit) - counted_steps(after, limit) for before, after in pairs],
        -limit,
        limit,
    )
    ends = f"{offline.steps.value:.0f} to {online.steps.value:.0f}"
    verb = "fell" if saved.value > 0 else "rose"
    return (
        f"at {online.success.value:.0%} success, the steps {verb} from {ends} "
        f"({_interval(saved, '.0f')} saved)"
    ), saved


def _moved(gain: Estimate) -> str:
    return "rose" if gain.value > 0 else "fell"


def _interval(gain: Estimate, form: str, factor: float = 1) -> str:
    """Return a gain with its interval, if it has one; all numbers are multiplied by a factor."""
    ends = (factor * number for number in (gain.value, gain.low, gain.high))
    value, low, high = (format(number, "+" + form) for number in ends)
    return value if math.isnan(gain.low) else f"{value}, 95% interval {low} to {high}"

"""The result of a run that has completed: `runs/RUN/result.json` in the store.

KFP passes no result to a run's last step, which reads it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qc_core import documents
from qc_core.documents import Document
from qc_core.evaluation.result import OFFLINE, UNTRAINED, Evaluation, PolicyResult
from qc_core.notify.verdict import published_policy, verdict, verdict_without_training
from qc_core.publish.promotion import Promotion
from qc_core.readable import measures
from qc_core.results.run_objects import read_document, run_key
from qc_core.retraining.new_data import NewData
from qc_core.store.objects import ObjectStore

if TYPE_CHECKING:
    # Every step imports this module; it must not wait for Optuna.
    from qc_core.tuning.trials import StudyHistory

_RESULT = "result.json"
# The same for every run, so that KFP compares any two of them. MLflow allows these characters.
METRICS = (
    "champion 0 or 1",
    "episodes",
    "return per episode",
    "steps per episode",
    "success offline percent",
    "success percent",
    "trials",
)


class PolicyRow(Document, frozen=True, kw_only=True):
    """A compared policy.

    Attributes:
        published: this policy was published.
        measures: its results, each a name and a value with its interval, for people.
    """

    name: str
    published: bool
    measures: tuple[tuple[str, str], ...]


class Completion(Document, frozen=True, kw_only=True):
    """The result of a completed run.

    Attributes:
        verdict: the result in one sentence.
        policy: NAME:VERSION; empty if no policy was trained, as are `store` and `reason`.
        store: the store that has the version.
        reason: why the version is champion or not.
        policies: the compared policies; their results are on the same episodes.
        metrics: a value for each of `METRICS`, rounded; None if it was not measured. Those without
            another name are of the published policy.
    """

    verdict: str
    policy: str = ""
    store: str = ""
    champion: bool = False
    reason: str = ""
    policies: tuple[PolicyRow, ...] = ()
    metrics: dict[str, float | None]
    schema_version: int = 1


def completion_of(
    evaluation: Evaluation, history: StudyHistory, promotion: Promotion
) -> Completion:
    """Return the result of a run that has published a policy."""
    before = evaluation.policy(OFFLINE) or evaluation.policy(UNTRAINED)
    published = published_policy(evaluation, history)
    metrics: dict[str, float | None] = {
        **dict.fromkeys(METRICS),
        "champion 0 or 1": int(promotion.champion),
        "episodes": evaluation.episodes,
        "trials": len(history.trials),
    }
    if published is not None:
        metrics["return per episode"] = round(published.episode_return.value, 1)
        if published.reports_success:
            metrics["steps per episode"] = round(published.steps.value, 1)
            metrics["success percent"] = _percent(published)
    if before is not None and before.reports_success:
        metrics["success offline percent"] = _percent(before)
    return Completion(
        verdict=verdict(evaluation, history, promotion),
        policy=f"{promotion.name}:{promotion.version}",
        store=promotion.store,
        champion=promotion.champion,
        reason=promotion.gate.reason,
        policies=tuple(
            PolicyRow(
                name=policy.name,
                published=policy is published,
                measures=tuple(measures(policy).items()),
            )
            for policy in evaluation.policies
        )
        or tuple(
            PolicyRow(
                name=result.name,
                published=result.kind == "learned",
                measures=(("log-likelihood per number", result.fit),),
            )
            for result in evaluation.held_out
        ),
        metrics=metrics,
    )


def completion_without_training(found: NewData) -> Completion:
    """Return the result of a retraining that has found no new data."""
    return Completion(verdict=verdict_without_training(found), metrics=dict.fromkeys(METRICS))


def write_completion(store: ObjectStore, run_id: str, completion: Completion) -> None:
    """Write the result of a run to the store."""
    store.put(run_key(run_id, _RESULT), documents.encode(completion))


def read_completion(store: ObjectStore, run_id: str) -> Completion | None:
    """Return the result of a run, or None if it has not completed."""
    return read_document(store, run_key(run_id, _RESULT), Completion)


def _percent(policy: PolicyResult) -> float:
    return round(100 * policy.success.value, 1)

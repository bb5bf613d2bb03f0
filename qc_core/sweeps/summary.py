"""The final scores of each method of a sweep, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from qc_core.documents import Document
from qc_core.statistics import Estimate, mean_over_seeds, success_rate_over_seeds
from qc_core.sweeps.definition import Sweep
from qc_core.sweeps.point import SweepPoint, any_reports_success


class FinalScore(Document, frozen=True, kw_only=True):
    """A method's scores at the end of its offline or online phase.

    Estimates are means over seeds with 95% intervals: that of `success_rate_over_seeds` for
    success, else Student's t. One seed has no interval.

    Attributes:
        step: offline updates plus online environment steps.
        seeds: number of seeds that have reached this step.
        success: success rate in [0, 1].
        steps: control steps; a failure counts as the episode limit.
        episode_return: undiscounted sum of rewards.
    """

    recipe: str
    method: str
    step: int
    seeds: int
    reports_success: bool
    success: Estimate
    steps: Estimate
    episode_return: Estimate = msgspec.field(name="return")


def final_scores(sweep: Sweep, points: Sequence[SweepPoint]) -> list[FinalScore]:
    """Return each recipe's and method's scores at the end of its offline and online phases."""
    scores = []
    for recipe in sweep.recipes:
        train = sweep.data_config(recipe).train
        for method in sweep.methods:
            for step in (train.offline_steps, train.offline_steps + train.online_steps):
                key = (recipe, method, step)
                found = [p for p in points if (p.recipe, p.method, p.step) == key]
                if found:
                    scores.append(_score(recipe, method, step, found))
    return scores


def over_seeds(points: Sequence[SweepPoint], measure: str) -> Estimate:
    """Return the mean of a measure over points of different seeds."""
    values = [getattr(point, measure) for point in points]
    if measure == "success":
        return success_rate_over_seeds(values, points[0].episodes)
    return mean_over_seeds(values)


def _score(recipe: str, method: str, step: int, points: Sequence[SweepPoint]) -> FinalScore:
    return FinalScore(
        recipe=recipe,
        method=method,
        step=step,
        seeds=len(points),
        reports_success=any_reports_success(points),
        success=over_seeds(points, "success"),
        steps=over_seeds(points, "steps"),
        episode_return=over_seeds(points, "episode_return"),
    )

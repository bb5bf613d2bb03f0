"""One evaluation of one run of a sweep: a row of `results.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# CSV columns, each with the attribute that it shows.
COLUMNS = {
    "recipe": "recipe",
    "environment": "environment",
    "method": "method",
    "seed": "seed",
    "step": "step",
    "success": "success",
    "steps": "steps",
    "return": "episode_return",
    "episodes": "episodes",
    "seconds": "seconds",
    "reports-success": "reports_success",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPoint:
    """Means over the episodes of one evaluation.

    Attributes:
        step: offline updates plus online environment steps. Methods without an offline phase
            count the recipe's offline updates too.
        success: success rate in [0, 1].
        steps: control steps; a failure counts as the episode limit.
        episode_return: undiscounted sum of rewards.
        episodes: number of episodes.
        seconds: training time so far.
        reports_success: 1 if the environment reports success, else 0.
    """

    recipe: str
    environment: str
    method: str
    seed: int
    step: float
    success: float
    steps: float
    episode_return: float
    episodes: int
    seconds: float
    reports_success: float

    def row(self) -> dict[str, object]:
        """Return the CSV row."""
        return {column: getattr(self, attribute) for column, attribute in COLUMNS.items()}


def from_curve(
    point: Mapping[str, float],
    *,
    recipe: str,
    environment: str,
    method: str,
    seed: int,
    episodes: int,
) -> SweepPoint:
    """Return a point of a run's learning curve as a point of the sweep."""
    return SweepPoint(
        recipe=recipe,
        environment=environment,
        method=method,
        seed=seed,
        step=point["step"],
        success=point["success"],
        steps=point["steps"],
        episode_return=point["return"],
        episodes=episodes,
        seconds=point["seconds"],
        # Curves of early releases lack this column.
        reports_success=point.get("reports-success", 1.0),
    )


def any_reports_success(points: Iterable[SweepPoint]) -> bool:
    """Return whether the environment of these points reports success."""
    return any(point.reports_success for point in points)

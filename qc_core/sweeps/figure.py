"""A study's learning curves, laid over the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qc_core.config.methods import METHODS
from qc_core.files import staged_file
from qc_core.statistics import mean_over_seeds
from qc_core.sweeps.definition import Study
from qc_core.sweeps.published import SOURCE, published_curve
from qc_core.sweeps.summary import BOUNDS, any_reports_success

# In the order of the methods; further methods use them again.
_COLOURS = (
    "#2563eb",
    "#0891b2",
    "#dc2626",
    "#d97706",
    "#059669",
    "#4d7c0f",
    "#7c3aed",
    "#be185d",
    "#6b7280",
)


def draw(study: Study, rows: Sequence[dict[str, Any]], output: Path) -> None:
    """One panel per recipe: success over steps, the mean over seeds with its 95% interval.

    Where the environment tells no success, it is the return. One seed has no interval, and its
    label says so. The paper's curve of the same task, data and method is dashed.

    Args:
        rows: of the study's CSV.
        output: an .svg file.
    """
    panels = len(study.recipes)
    figure = Figure(figsize=(1.2 + 4.6 * panels, 3.6), layout="constrained")
    for axes, recipe in zip(np.ravel(figure.subplots(1, panels)), study.recipes, strict=True):
        config = study.data_config(recipe)
        of_recipe = [row for row in rows if row["recipe"] == recipe]
        last = max((row["step"] for row in of_recipe), default=1)
        shown = "success" if not of_recipe or any_reports_success(of_recipe) else "return"
        published = False
        for method in study.methods:
            points = _over_seeds([row for row in of_recipe if row["method"] == method], shown)
            colour = _COLOURS[[*METHODS].index(method) % len(_COLOURS)]
            if points:
                steps, values, lows, highs = map(np.array, zip(*points, strict=True))
                label = f"{method}, one seed" if np.isnan(lows).all() else method
                axes.plot(steps, values, color=colour, marker="o", markersize=3, label=label)
                axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
            theirs = [p for p in published_curve(config, method) if p.step <= last]
            if theirs:
                published = True
                axes.plot([p.step for p in theirs], [p.success for p in theirs], "--", color=colour)
        axes.axvline(config.train.offline_steps, color="#9ca3af", linewidth=0.8)
        axes.set(
            title=recipe + (f"\ndashed: {SOURCE}" if published else ""),
            xlabel="offline updates | online steps",
            ylabel=shown,
            xlim=(0, last),
        )
        if shown == "success":
            axes.set(ylim=(-0.03, 1.03))
        if of_recipe:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    with staged_file(output) as staging:
        figure.savefig(staging, format="svg", metadata={"Date": None})


def _over_seeds(
    rows: Sequence[dict[str, Any]], shown: str
) -> list[tuple[float, float, float, float]]:
    """(step, mean, low, high) of what is shown at each step that any seed has come to."""
    points = []
    for step in sorted({row["step"] for row in rows}):
        values = [row[shown] for row in rows if row["step"] == step]
        points.append((step, *mean_over_seeds(values, *BOUNDS[shown])))
    return points

"""Draw the learning curves of a sweep together with the published curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from qc_core.config.methods import METHODS
from qc_core.files import staged_file
from qc_core.sweeps.definition import Sweep
from qc_core.sweeps.point import SweepPoint, any_reports_success
from qc_core.sweeps.published import SOURCE, published_curve
from qc_core.sweeps.summary import over_seeds

# 20 colours, saturated ones first. A method's colour follows from its place in the methods table.
_PALETTE = [colormaps["tab20"](index) for index in (*range(0, 20, 2), *range(1, 20, 2))]


def draw(sweep: Sweep, points: Sequence[SweepPoint], output: Path) -> None:
    """Draw one panel per recipe: success over steps, as mean over seeds with its 95% interval.

    Without a success signal the panel shows the return. One seed has no interval, and its label
    says so. The paper's curve for the same task, data and method is dashed.

    Args:
        output: the .svg file to write.
    """
    panels = len(sweep.recipes)
    figure = Figure(figsize=(1.2 + 4.6 * panels, 3.6), layout="constrained")
    for axes, recipe in zip(np.ravel(figure.subplots(1, panels)), sweep.recipes, strict=True):
        _draw_recipe(axes, sweep, recipe, [point for point in points if point.recipe == recipe])
    with staged_file(output) as staging:
        figure.savefig(staging, format="svg", metadata={"Date": None})


def _draw_recipe(axes: Any, sweep: Sweep, recipe: str, points: Sequence[SweepPoint]) -> None:
    config = sweep.data_config(recipe)
    last = max((point.step for point in points), default=1)
    reports_success = not points or any_reports_success(points)
    measure = "success" if reports_success else "episode_return"
    published = False
    for method in sweep.methods:
        colour = _PALETTE[list(METHODS).index(method) % len(_PALETTE)]
        _draw_method(axes, method, colour, [p for p in points if p.method == method], measure)
        theirs = [point for point in published_curve(config, method) if point.step <= last]
        if theirs:
            published = True
            axes.plot([p.step for p in theirs], [p.success for p in theirs], "--", color=colour)
    axes.axvline(config.train.offline_steps, color="#9ca3af", linewidth=0.8)
    axes.set(
        title=recipe + (f"\ndashed: {SOURCE}" if published else ""),
        xlabel="offline updates | online steps",
        ylabel="success" if reports_success else "return",
        xlim=(0, last),
    )
    if reports_success:
        axes.set(ylim=(-0.03, 1.03))
    if points:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_method(
    axes: Any, method: str, colour: Any, points: Sequence[SweepPoint], measure: str
) -> None:
    if not points:
        return
    steps = sorted({point.step for point in points})
    means = [over_seeds([p for p in points if p.step == step], measure) for step in steps]
    lows, highs = np.array([mean.low for mean in means]), np.array([mean.high for mean in means])
    label = f"{method}, one seed" if np.isnan(lows).all() else method
    values = [mean.value for mean in means]
    axes.plot(steps, values, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)

"""Draws the learning curves of several runs over each other, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from qc_core.report.plotting import COLOURS, legend_above, panel, styled, svg
from qc_core.runs.comparison import Group
from qc_core.runs.record import Points, RunCurves
from qc_core.runs.run import Run
from qc_core.statistics import Estimate, mean_over_seeds, success_rate, success_rate_over_seeds

# By run id.
Curves = Mapping[str, RunCurves]


@styled
def online_curves(groups: Sequence[Group], curves: Curves, measure: str) -> list[str]:
    """Draw success or return of the selected trials over environment steps; no panel without any.

    Args:
        measure: `success` or `return`.
    """
    figure, axes = panel()
    for group, colour in zip(groups, _cycle(groups), strict=True):
        found = [
            (run, dict(curves[run.run_id].online.get(measure, [])))
            for run in group.runs
            if run.run_id in curves
        ]
        steps = sorted({step for _, points in found for step in points})
        estimates = [
            _estimate([(run, points[step]) for run, points in found if step in points], measure)
            for step in steps
        ]
        _with_interval(axes, steps, estimates, group.label, colour)
    if not axes.lines:
        return []
    axes.set(xlabel="environment steps of fine-tuning", ylabel=f"{measure}, 95% interval")
    if measure == "success":
        axes.set(ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    legend_above(axes, columns=1)
    return [svg(figure)]


@styled
def offline_curves(groups: Sequence[Group], curves: Curves) -> list[str]:
    """Draw every quantity that all runs have over offline updates, one panel each.

    Each run is one line. Losses have a logarithmic axis.
    """
    per_group = [
        [curves[run.run_id].offline for run in group.runs if run.run_id in curves]
        for group in groups
    ]
    return [_quantity(groups, per_group, name) for name in _common(per_group)]


def _quantity(
    groups: Sequence[Group], per_group: Sequence[Sequence[Mapping[str, Points]]], name: str
) -> str:
    figure, axes = panel()
    for group, found, colour in zip(groups, per_group, _cycle(groups), strict=True):
        for place, quantities in enumerate(found):
            label = group.label if place == 0 else None
            axes.plot(*zip(*quantities[name], strict=True), color=colour, lw=1, label=label)
    axes.set(xlabel="offline updates", ylabel=name.replace("_", " "))
    if name.endswith("loss") and _all_positive(per_group, name):
        axes.set(yscale="log")
    legend_above(axes, columns=1)
    return svg(figure)


def _estimate(values: Sequence[tuple[Run, float]], measure: str) -> Estimate:
    """Return the mean of one step over runs; of one run, the interval is over its episodes."""
    numbers = [value for _, value in values]
    if measure != "success":
        return mean_over_seeds(numbers)
    run, rate = values[0]
    assert run.config is not None
    episodes = int(run.config["tune"]["episodes"])
    if len(values) > 1:
        return success_rate_over_seeds(numbers, episodes)
    return success_rate(np.arange(episodes) < round(rate * episodes))


def _with_interval(
    axes: Any, steps: Sequence[float], estimates: Sequence[Estimate], label: str, colour: str
) -> None:
    if not steps:
        return
    values, lows, highs = np.array([(e.value, e.low, e.high) for e in estimates]).T
    axes.plot(steps, values, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, lw=0)


def _common(per_group: Sequence[Sequence[Mapping[str, Points]]]) -> list[str]:
    """Return the quantities that every run with curves has, in their order."""
    runs = [quantities for found in per_group for quantities in found]
    if not runs:
        return []
    return [name for name in runs[0] if all(quantities.get(name) for quantities in runs)]


def _all_positive(per_group: Sequence[Sequence[Mapping[str, Points]]], name: str) -> bool:
    return all(y > 0 for found in per_group for quantities in found for _, y in quantities[name])


def _cycle(groups: Sequence[Group]) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(groups))]

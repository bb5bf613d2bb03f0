"""Figures of training, of the compared policies and of their exploration, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qc_core.envs.trajectory import Trajectory
from qc_core.evaluation.coherence import LAGS, CoherenceReport
from qc_core.evaluation.result import PolicyResult
from qc_core.report.plotting import (
    COLOURS,
    GREY,
    PANEL,
    intervals,
    legend_above,
    panel,
    styled,
    svg,
)

# Success in percent, with room for points at the ends.
PERCENT_AXIS = (-3.0, 103.0)
# More paths would hide each other.
_MAX_PATHS = 4


@styled
def offline_curves(curve: list[dict[str, float]]) -> list[str]:
    """Draw the losses and the critic's values over offline updates, in two panels."""
    losses, loss_axes = panel()
    for colour, name in zip(COLOURS, _positive_losses(curve), strict=False):
        _line(loss_axes, curve, name, name.replace("_", " "), colour)
    loss_axes.set(xlabel="offline updates", ylabel="loss", yscale="log")
    legend_above(loss_axes)
    values, value_axes = panel()
    _line(value_axes, curve, "critic/value", "Q of the data's chunks", COLOURS[0])
    _line(value_axes, curve, "critic/target", "target", COLOURS[1])
    value_axes.set(xlabel="offline updates", ylabel="value")
    legend_above(value_axes)
    return [svg(losses), svg(values)]


@styled
def comparison(policies: Sequence[PolicyResult], published: PolicyResult | None) -> list[str]:
    """Draw success and steps of the policies, or their returns, with intervals."""
    names = [policy.name for policy in policies]
    bold = policies.index(published) if published is not None else None
    if not policies[0].reports_success:
        return [intervals(names, [p.episode_return for p in policies], "return", bold=bold)]
    success = [policy.success for policy in policies]
    return [
        intervals(names, success, "success, %", bold=bold, factor=100, limits=PERCENT_AXIS),
        intervals(names, [p.steps for p in policies], "steps per episode", bold=bold),
    ]


@styled
def exploration(report: CoherenceReport, rollouts: Mapping[str, Sequence[Trajectory]]) -> str:
    """Draw paths, action autocorrelation and displacement of two rollouts from the same starts."""
    place = report.place
    width, height = 2 * PANEL[0], PANEL[1]
    if place is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        _autocorrelation(figure.subplots(), report)
        return svg(figure)
    figure = Figure(figsize=(width, 2 * height), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    panels = above.subplots(1, 2, sharex=True, sharey=True)
    _paths(panels, report, rollouts, place.cell_metres)
    left, right = below.subplots(1, 2)
    _autocorrelation(left, report)
    _displacement(right, report, place.what)
    return svg(figure)


@styled
def exploration_panels(
    report: CoherenceReport, rollouts: Mapping[str, Sequence[Trajectory]]
) -> list[str]:
    """Draw the same as `exploration`, in one panel after the other."""
    autocorrelation, axes = panel()
    _autocorrelation(axes, report)
    if report.place is None:
        return [svg(autocorrelation)]
    displacement, axes = panel()
    _displacement(axes, report, report.place.what)
    paths = Figure(figsize=(PANEL[0], 2 * PANEL[1]), layout="constrained")
    _paths(
        paths.subplots(2, 1, sharex=True, sharey=True), report, rollouts, report.place.cell_metres
    )
    return [svg(autocorrelation), svg(displacement), svg(paths)]


def _paths(
    panels: Any,
    report: CoherenceReport,
    rollouts: Mapping[str, Sequence[Trajectory]],
    cell: float,
) -> None:
    """Draw a few episodes from above, with the longer axis horizontal."""
    shown = {name: episodes[:_MAX_PATHS] for name, episodes in rollouts.items()}
    points = np.concatenate([e.positions_TX for episodes in shown.values() for e in episodes])
    across, up = np.argsort(-np.ptp(points[:, :2], axis=0), kind="stable")
    for axes, rollout in zip(panels, report.rollouts, strict=True):
        for colour, episode in zip(COLOURS, shown[rollout.name], strict=False):
            path = episode.positions_TX
            axes.plot(path[:, across], path[:, up], color=colour, lw=1)
            axes.plot(path[0, across], path[0, up], "o", color=colour)
        spread, cells = (rollout.measures[key].value for key in ("spread-metres", "cells"))
        axes.set_title(
            f"{rollout.name}\nspread {100 * spread:.1f} cm, {cells:.1f} cells of "
            f"{100 * cell:.0f} cm an episode",
            fontsize="medium",
        )
        axes.set(xlabel=f"{'xy'[across]}, m", aspect="equal")
    panels[0].set(ylabel=f"{'xy'[up]}, m")


def _autocorrelation(axes: Any, report: CoherenceReport) -> None:
    axes.axhline(0, color=GREY, lw=0.8)
    _with_band(axes, report, "autocorrelation", 1)
    axes.set(xlabel="lag, control steps", ylabel="autocorrelation of actions")


def _displacement(axes: Any, report: CoherenceReport, what: str) -> None:
    _with_band(axes, report, "displacement-metres", 100)
    axes.set(xlabel="control steps", ylabel=f"displacement of the {what}, cm", ylim=0)


def _with_band(axes: Any, report: CoherenceReport, curve: str, factor: float) -> None:
    for colour, rollout in zip(COLOURS, report.rollouts, strict=False):
        points = rollout.curves[curve]
        lags = range(1, len(points) + 1)
        low, high = ([factor * getattr(p, end) for p in points] for end in ("low", "high"))
        axes.plot(lags, [factor * p.value for p in points], color=colour, label=rollout.name)
        axes.fill_between(lags, low, high, color=colour, alpha=0.2, lw=0, label="95% interval")
    axes.set(xticks=[1, *range(5, LAGS + 1, 5)])
    legend_above(axes)


def _positive_losses(curve: list[dict[str, float]]) -> list[str]:
    """Return the loss terms of a curve that a logarithmic axis can show."""
    names = dict.fromkeys(name for point in curve for name in point if name.endswith("loss"))
    # `actor/loss` is the sum of the actor's terms.
    names.pop("actor/loss", None)
    return [name for name in names if all(point.get(name, 1) > 0 for point in curve)]


def _line(axes: Any, curve: list[dict[str, float]], name: str, label: str, colour: str) -> None:
    points = [(point["step"], point[name]) for point in curve if name in point]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, label=label)

"""Draw the figures of the report as SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from qc_core.envs.trajectory import Trajectory
from qc_core.evaluation.coherence import LAGS, CoherenceReport
from qc_core.evaluation.result import PolicyResult
from qc_core.tuning.trials import StudyHistory

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_SIZE = (8.4, 2.9)
# More paths would hide each other.
_MAX_PATHS = 4

matplotlib.rcParams["svg.hashsalt"] = "q-chunking"
matplotlib.rcParams["font.size"] = 9
matplotlib.rcParams["axes.spines.top"] = False
matplotlib.rcParams["axes.spines.right"] = False


def offline_curves(curve: list[dict[str, float]]) -> str:
    """Draw the losses and the critic's values over offline updates."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    losses, values = figure.subplots(1, 2)
    for colour, name in zip(_COLOURS, _positive_losses(curve), strict=False):
        _line(losses, curve, name, name.replace("_", " "), colour)
    losses.set(xlabel="offline updates", ylabel="loss", yscale="log")
    losses.legend(frameon=False)
    _line(values, curve, "critic/value", "Q of the data's chunks", _COLOURS[0])
    _line(values, curve, "critic/target", "target", _COLOURS[1])
    values.set(xlabel="offline updates", ylabel="value")
    values.legend(frameon=False)
    return _svg(figure)


def tuning_history(study: StudyHistory) -> str:
    """Draw each trial's success over online steps, and its steps over the online learning rate.

    Without a success signal, both panels show the return.
    """
    trials = study.trials
    reports_success = any(score.reports_success for trial in trials for score in trial.scores)
    over_steps, at_end = "episode_return", "episode_return"
    if reports_success:
        over_steps, at_end = "success", "steps"
    figure = Figure(figsize=_SIZE, layout="constrained")
    scores, search = figure.subplots(1, 2)
    for index, trial in enumerate(trials):
        colour = _COLOURS[index % len(_COLOURS)]
        chosen = trial.trial == study.best_trial
        scores.plot(
            [score.online_step for score in trial.scores],
            [getattr(score, over_steps) for score in trial.scores],
            color=colour,
            marker="o",
            linewidth=2.5 if chosen else 1,
            label=f"trial {trial.trial} ({'best' if chosen else trial.state})",
        )
        if trial.scores:
            search.scatter(
                trial.parameters["online_learning_rate"],
                getattr(trial.scores[-1], at_end),
                color=colour,
                s=90 if chosen else 30,
            )
    scores.set(xlabel="online steps", ylabel="success" if reports_success else "return")
    if reports_success:
        scores.set(ylim=(-0.05, 1.05))
    scores.legend(frameon=False)
    search.set(
        xlabel="online learning rate",
        ylabel="steps to success" if reports_success else "return",
        xscale="log",
    )
    return _svg(figure)


def comparison(policies: Sequence[PolicyResult]) -> str:
    """Draw success and steps of the policies, or their returns, with intervals."""
    shown = {"success": "success", "steps": "steps to success"}
    if not policies[0].reports_success:
        shown = {"episode_return": "return"}
    figure = Figure(figsize=(8.4, 0.6 + 0.45 * len(policies)), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    names = [policy.name for policy in policies]
    for panel, (key, label) in zip(panels, shown.items(), strict=True):
        for row, policy in enumerate(policies):
            estimate = getattr(policy, key)
            panel.plot([estimate.low, estimate.high], [row, row], color=_COLOURS[row], lw=2)
            panel.plot(estimate.value, row, "o", color=_COLOURS[row])
        panel.set(xlabel=label)
        panel.grid(axis="x", alpha=0.3)
        panel.margins(y=0.3)
    panels[0].set(yticks=range(len(names)), yticklabels=names)
    if "success" in shown:
        panels[0].set(xlim=(-0.02, 1.02))
    panels[0].invert_yaxis()
    return _svg(figure)


def exploration(report: CoherenceReport, rollouts: Mapping[str, Sequence[Trajectory]]) -> str:
    """Draw paths, action autocorrelation and displacement of two rollouts from the same starts."""
    place = report.place
    if place is None:
        figure = Figure(figsize=_SIZE, layout="constrained")
        _autocorrelation(figure.subplots(), report)
        return _svg(figure)
    figure = Figure(figsize=(8.4, 5.8), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    panels = above.subplots(1, 2, sharex=True, sharey=True)
    _paths(panels, report, rollouts, place.cell_metres)
    left, right = below.subplots(1, 2)
    _autocorrelation(left, report)
    _with_band(right, report, "displacement-metres", 100)
    right.set(xlabel="control steps", ylabel=f"displacement of the {place.what}, cm", ylim=0)
    return _svg(figure)


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
    for panel, rollout in zip(panels, report.rollouts, strict=True):
        for colour, episode in zip(_COLOURS, shown[rollout.name], strict=False):
            path = episode.positions_TX
            panel.plot(path[:, across], path[:, up], color=colour, lw=1)
            panel.plot(path[0, across], path[0, up], "o", color=colour)
        spread, cells = (rollout.measures[key].value for key in ("spread-metres", "cells"))
        panel.set_title(
            f"{rollout.name}\nspread {100 * spread:.1f} cm, {cells:.1f} cells of "
            f"{100 * cell:.0f} cm an episode",
            fontsize="medium",
        )
        panel.set(xlabel=f"{'xy'[across]}, m", aspect="equal")
    panels[0].set(ylabel=f"{'xy'[up]}, m")


def _autocorrelation(axes: Any, report: CoherenceReport) -> None:
    axes.axhline(0, color="#9ca3af", lw=0.8)
    _with_band(axes, report, "autocorrelation", 1)
    axes.set(xlabel="lag, control steps", ylabel="autocorrelation of actions")
    axes.legend(frameon=False)


def _with_band(axes: Any, report: CoherenceReport, curve: str, factor: float) -> None:
    for colour, rollout in zip(_COLOURS, report.rollouts, strict=False):
        points = rollout.curves[curve]
        lags = range(1, len(points) + 1)
        low, high = ([factor * getattr(p, end) for p in points] for end in ("low", "high"))
        axes.fill_between(lags, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(lags, [factor * p.value for p in points], color=colour, label=rollout.name)
    axes.set(xticks=[1, *range(5, LAGS + 1, 5)])


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


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    # Without a date, the same run gives the same report.
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    content = text.getvalue()
    return content[content.index("<svg") :]

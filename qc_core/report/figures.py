"""Figures as SVG text, to stand inside the report."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_SIZE = (8.4, 2.9)

matplotlib.rcParams["svg.hashsalt"] = "q-chunking"
matplotlib.rcParams["font.size"] = 9
matplotlib.rcParams["axes.spines.top"] = False
matplotlib.rcParams["axes.spines.right"] = False


def offline_curves(curve: list[dict[str, float]]) -> str:
    """Losses and values over offline updates."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    losses, values = figure.subplots(1, 2)
    for colour, (name, label) in zip(
        _COLOURS,
        (
            ("actor/cloning_loss", "cloning (flow)"),
            ("actor/distillation_loss", "distillation"),
            ("critic/loss", "critic"),
            ("validation/cloning_loss", "cloning, held out"),
        ),
        strict=False,
    ):
        _line(losses, curve, name, label, colour)
    losses.set(xlabel="offline updates", ylabel="loss", yscale="log")
    losses.legend(frameon=False)
    _line(values, curve, "critic/value", "Q of the data's chunks", _COLOURS[0])
    _line(values, curve, "critic/target", "target", _COLOURS[1])
    values.set(xlabel="offline updates", ylabel="value")
    values.legend(frameon=False)
    return _svg(figure)


def tuning_history(trials: list[dict[str, Any]], best: int) -> str:
    """Each trial's success over its online steps, and over what it searched."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    scores, search = figure.subplots(1, 2)
    for index, trial in enumerate(trials):
        colour = _COLOURS[index % len(_COLOURS)]
        chosen = trial["trial"] == best
        scores.plot(
            [score["online_step"] for score in trial["scores"]],
            [score["success"] for score in trial["scores"]],
            color=colour,
            marker="o",
            linewidth=2.5 if chosen else 1,
            label=f"trial {trial['trial']} ({'best' if chosen else trial['state']})",
        )
        if trial["scores"]:
            search.scatter(
                trial["parameters"]["online_learning_rate"],
                trial["scores"][-1]["steps"],
                color=colour,
                s=90 if chosen else 30,
            )
    scores.set(xlabel="online steps", ylabel="success", ylim=(-0.05, 1.05))
    scores.legend(frameon=False)
    search.set(xlabel="online learning rate", ylabel="steps to success", xscale="log")
    return _svg(figure)


def comparison(policies: list[dict[str, Any]]) -> str:
    """Success and steps of the policies, with intervals."""
    figure = Figure(figsize=(8.4, 0.6 + 0.45 * len(policies)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = [policy["name"] for policy in policies]
    for panel, key, label in zip(
        panels, ("success", "steps"), ("success", "steps to success"), strict=True
    ):
        for row, policy in enumerate(policies):
            entry = policy[key]
            panel.plot([entry["low"], entry["high"]], [row, row], color=_COLOURS[row], lw=2)
            panel.plot(entry["value"], row, "o", color=_COLOURS[row])
        panel.set(xlabel=label)
        panel.grid(axis="x", alpha=0.3)
        panel.margins(y=0.3)
    panels[0].set(yticks=range(len(names)), yticklabels=names, xlim=(-0.02, 1.02))
    panels[0].invert_yaxis()
    return _svg(figure)


def _line(axes: Any, curve: list[dict[str, float]], name: str, label: str, colour: str) -> None:
    points = [(point["step"], point[name]) for point in curve if name in point]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, label=label)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    # No date: the same run gives the same report.
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    content = text.getvalue()
    return content[content.index("<svg") :]

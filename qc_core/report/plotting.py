"""Panels of the reports: small SVG figures, one beside the other or one below the other.

Colours of text and axes suit light and dark pages: text takes the colour of the page, and axes are
of a medium grey.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from qc_core.statistics import Estimate

COLOURS = ("#2f6fed", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#5f8a12")
GREY = "#8a919e"
# Inches at 96 pixels: a panel fits into the side panel of KFP, and two into a page.
PANEL = (4.2, 2.9)

# Decorates functions that draw; other figures of the process have their own style.
styled = matplotlib.rc_context(
    {
        "svg.hashsalt": "q-chunking",
        # Text stays text, which pages can colour and people can select.
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": "black",
        "ytick.labelcolor": "black",
        "grid.color": GREY,
        "legend.frameon": False,
        "savefig.transparent": True,
    }
)


def panel(size: tuple[float, float] = PANEL) -> tuple[Figure, Any]:
    """Return a figure of one panel, and its axes."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def legend_above(axes: Any, columns: int = 2) -> None:
    """Put the legend above the axes, where it covers no curve."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


@styled
def intervals(
    labels: Sequence[str],
    estimates: Sequence[Estimate],
    xlabel: str,
    *,
    bold: int | None = None,
    factor: float = 1.0,
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw one point with its 95% interval per row.

    Args:
        bold: row to emphasise.
        factor: of all numbers.
        limits: of the horizontal axis.
    """
    figure, axes = panel((PANEL[0], 0.8 + 0.32 * len(labels)))
    for row, entry in enumerate(estimates):
        chosen = row == bold
        colour = COLOURS[0] if chosen else GREY
        ends = [factor * entry.low, factor * entry.high]
        axes.plot(ends, [row, row], color=colour, lw=3 if chosen else 2, solid_capstyle="butt")
        axes.plot(factor * entry.value, row, "o", color=colour)
    axes.set(yticks=range(len(labels)), yticklabels=labels, xlabel=f"{xlabel}, 95% interval")
    if limits is not None:
        axes.set(xlim=limits)
    axes.grid(axis="x", alpha=0.3)
    axes.margins(y=0.2)
    axes.invert_yaxis()
    return svg(figure)


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element."""
    text = io.StringIO()
    # Without a date, the same run gives the same figures.
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    content = text.getvalue()
    return content[content.index("<svg") :]

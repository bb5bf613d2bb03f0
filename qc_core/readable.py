"""Estimates as people read them: `96% (87% to 99%)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qc_core.statistics import Estimate


class Results(Protocol):
    """Means over episodes, as several documents have them."""

    @property
    def reports_success(self) -> bool: ...

    @property
    def success(self) -> Estimate: ...

    @property
    def steps(self) -> Estimate: ...

    @property
    def episode_return(self) -> Estimate: ...


def estimate(entry: Estimate | None, form: str) -> str:
    """Return `96% (87% to 99%)`, or `-` without an estimate."""
    return "-" if entry is None else entry.text(form)


def measures(summary: Results) -> dict[str, str]:
    """Return success and steps for people, or the return if there is no success signal."""
    if summary.reports_success:
        return {
            "success": estimate(summary.success, "{:.0%}"),
            "steps": estimate(summary.steps, "{:.0f}"),
        }
    return {"return": estimate(summary.episode_return, "{:.1f}")}

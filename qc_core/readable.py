"""Numbers and estimates as people read them: `96% (87% to 99%)`."""

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


def three_digits(value: float) -> str:
    """Return a number with up to three significant digits and without an exponent: `0.00018`."""
    import numpy as np

    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def p_value_text(value: float) -> str:
    """Return `0.012`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def measures(summary: Results) -> dict[str, str]:
    """Return success and steps for people, or the return if there is no success signal."""
    if summary.reports_success:
        return {
            "success": estimate(summary.success, "{:.0%}"),
            "steps": estimate(summary.steps, "{:.0f}"),
        }
    return {"return": estimate(summary.episode_return, "{:.1f}")}

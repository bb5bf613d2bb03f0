"""Prints results as tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.log import printable


def print_json(content: Any) -> None:
    """Print readable JSON."""
    print(json.dumps(content, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; each row is one line, whatever characters its cells have."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in lines) for i in range(len(header))]
    for row in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def estimate(entry: Mapping[str, float | None] | None, form: str) -> str:
    """Format an estimate: `96% (87% to 99%)`, or `96% (no interval)` if it has no bounds."""
    if entry is None:
        return "-"
    if entry["low"] is None:
        return f"{form.format(entry['value'])} (no interval)"
    value, low, high = (form.format(entry[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def measures(result: Mapping[str, Any]) -> dict[str, str]:
    """The measures of a policy: success and steps, or the return if success is not reported."""
    if result.get("reports-success", result.get("success-told", True)):
        return {
            "success": estimate(result["success"], "{:.0%}"),
            "steps": estimate(result["steps"], "{:.0f}"),
        }
    return {"return": estimate(result["return"], "{:.1f}")}


def print_policies(what: str, policies: Sequence[Mapping[str, Any]]) -> None:
    """Print one row for each policy of an evaluation, under the header `what`."""
    print_table(
        (what, *measures(policies[0])),
        [(policy["name"], *measures(policy).values()) for policy in policies],
    )

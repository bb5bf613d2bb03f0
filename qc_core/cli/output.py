"""How results look on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.log import printable


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, each row one line whatever is in it."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in lines) for i in range(len(header))]
    for row in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def estimate(entry: Mapping[str, float | None] | None, form: str) -> str:
    """`96% (87% to 99%)` from a value with its interval, `96% (no interval)` without its ends."""
    if entry is None:
        return "-"
    if entry["low"] is None:
        return f"{form.format(entry['value'])} (no interval)"
    value, low, high = (form.format(entry[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def measures(result: Mapping[str, Any]) -> dict[str, str]:
    """What an evaluation says of a policy: success and steps, or return if success is not told."""
    if result.get("reports-success", result.get("success-told", True)):
        return {
            "success": estimate(result["success"], "{:.0%}"),
            "steps": estimate(result["steps"], "{:.0f}"),
        }
    return {"return": estimate(result["return"], "{:.1f}")}


def print_policies(what: str, policies: Sequence[Mapping[str, Any]]) -> None:
    """One row per policy of an evaluation, `what` above their names."""
    print_table(
        (what, *measures(policies[0])),
        [(policy["name"], *measures(policy).values()) for policy in policies],
    )

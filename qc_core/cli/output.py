"""How results look on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.progress import printable


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


def estimate(entry: Mapping[str, float] | None, form: str) -> str:
    """`96% (87% to 99%)` from a value with its interval."""
    if entry is None:
        return "-"
    value, low, high = (form.format(entry[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def policy_rows(policies: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """One row per policy of an evaluation."""
    return [
        (p["name"], estimate(p["success"], "{:.0%}"), estimate(p["steps"], "{:.0f}"))
        for p in policies
    ]

"""Prints results as tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qc_core.log import printable
from qc_core.readable import estimate, measures

if TYPE_CHECKING:
    from qc_core.evaluation.result import Evaluation, PolicyResult


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


def print_evaluation(what: str, evaluation: Evaluation) -> None:
    """Print one row per policy, with `what` as the header of their names."""
    if evaluation.policies:
        print_policies(what, evaluation.policies)
        return
    print_table(
        ("policy, offline figures", "log-likelihood per number", "value", "of recorded actions"),
        [
            (
                r.name,
                *(estimate(e, "{:.2f}") for e in (r.log_likelihood, r.value, r.recorded_value)),
            )
            for r in evaluation.held_out
        ],
    )


def print_policies(what: str, policies: Sequence[PolicyResult]) -> None:
    """Print one row per policy of an evaluation, with `what` as the header of their names."""
    print_table(
        (what, *measures(policies[0])),
        [(policy.name, *measures(policy).values()) for policy in policies],
    )


def duration(seconds: float) -> str:
    """Return a time for people: `48 s`, `6 min 5 s` or `2 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

"""The section that shows the compared policies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qc_core.evaluation.result import Evaluation, PolicyResult
from qc_core.readable import estimate, measures
from qc_core.report import figures
from qc_core.report.page import markup


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table and its figures.

    Attributes:
        chosen: row of the published policy.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    chosen: int | None
    figures: Sequence[Markup] = ()


def compare_policies(evaluation: Evaluation, published: PolicyResult | None) -> Comparison:
    """Return one row per policy: results with 95% intervals, and the gain over the first policy.

    Without a simulator the rows have offline figures.
    """
    policies = evaluation.policies
    if not policies:
        rows = [
            [r.name, r.fit, *(f"{v.value:.2f}" if v else "–" for v in (r.value, r.recorded_value))]
            for r in evaluation.held_out
        ]
        return Comparison((), rows, len(rows) - 1)
    gained = "steps saved over the first" if policies[0].reports_success else "gain over the first"
    return Comparison(
        ["policy", *measures(policies[0]), gained],
        [
            [policy.name, *measures(policy).values(), _gain(policy) if number else "–"]
            for number, policy in enumerate(policies)
        ],
        policies.index(published) if published is not None else None,
        markup(figures.comparison(policies, published)),
    )


def _gain(policy: PolicyResult) -> str:
    if policy.reports_success:
        return estimate(policy.steps_saved, "{:.0f}")
    return estimate(policy.return_gain, "{:.1f}")

"""Writes the comparison of runs: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from qc_core.files import write_atomically
from qc_core.report.page import markup, templates
from qc_core.runs import figures
from qc_core.runs.comparison import Comparison


def write_page(comparison: Comparison, command: str, output: Path) -> None:
    """Write the page.

    Args:
        command: that makes the page, which shows it.
        output: the HTML file to write.
    """
    groups = comparison.groups
    runs = [run for group in groups for run in group.runs]
    curves = {run.run_id: found for run in runs if (found := run.read_curves()) is not None}
    is_success = comparison.measure == "success"
    page = (
        templates()
        .get_template("runs.html.j2")
        .render(
            command=command,
            comparison=comparison,
            groups=groups,
            count=len(runs),
            form="{:.0%}" if is_success else "{:.1f}",
            gain_form="{:+.0%}" if is_success else "{:+.1f}",
            online=markup(figures.online_curves(groups, curves, comparison.measure)),
            offline=markup(figures.offline_curves(groups, curves)),
            without_curves=[run.name for run in runs if run.run_id not in curves],
        )
    )
    write_atomically(output, page.encode())

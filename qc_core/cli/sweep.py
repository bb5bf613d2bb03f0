"""`qc study`: methods, tasks and seeds side by side, then a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qc_core.cli.output import estimate, print_table
from qc_core.errors import UsageError
from qc_core.sweeps.definition import read_sweep
from qc_core.sweeps.run import FIGURE, RESULTS, run_sweep
from qc_core.sweeps.summary import FinalScore, final_scores


def study(file: Path, folder: Path | None, workers: int | None) -> None:
    """Run a study, or go on with it, and print where each method ends.

    Args:
        folder: None takes `runs/NAME`.
        workers: None takes one per core.
    """
    asked = read_sweep(file)
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}")
    folder = folder or Path("runs") / asked.name
    points = run_sweep(asked, folder, workers)
    print_table(*as_table(final_scores(asked, points)))
    print(f"\ncurves  {folder / RESULTS}\nfigure  {folder / FIGURE}")


def as_table(scores: Sequence[FinalScore]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a summary."""
    header = ("recipe", "method", "step", "seeds", "success (95% over seeds)", "return")
    return header, [
        (
            score.recipe,
            score.method,
            f"{score.step:,.0f}",
            str(score.seeds),
            estimate(score.success if score.reports_success else None, "{:.0%}"),
            estimate(score.episode_return, "{:.0f}"),
        )
        for score in scores
    ]

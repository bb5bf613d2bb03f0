"""`qc sweep`: run methods, tasks and seeds in parallel and compare them."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.documents import to_json
from qc_core.errors import UsageError
from qc_core.readable import estimate

if TYPE_CHECKING:
    from qc_core.sweeps.summary import FinalScore


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "sweep", type=Path, metavar="FILE", help="YAML file: recipes, methods, seeds and more"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="sweep folder (default: ./runs/NAME)"
    )
    parser.add_argument("--workers", type=int, help="runs in parallel (default: one per core)")
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Run or resume a sweep, and print the result of each method."""
    from qc_core.sweeps.definition import read_sweep
    from qc_core.sweeps.run import FIGURE, RESULTS, run_sweep
    from qc_core.sweeps.summary import final_scores

    sweep, workers = read_sweep(options.sweep), options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}")
    folder = options.output or Path("runs") / sweep.name
    points = run_sweep(sweep, folder, workers)
    scores = final_scores(sweep, points)
    if options.json:
        files = {"curves": str(folder / RESULTS), "figure": str(folder / FIGURE)}
        print_json({**files, "scores": [to_json(score) for score in scores]})
        return
    print_table(*as_table(scores))
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

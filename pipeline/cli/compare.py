"""`qc compare`: write one page that compares runs."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError
from qc_core.readable import estimate


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run folder, or a name or id from `qc runs`; the first run is the one that others "
        "are compared with",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("comparison.html"),
        metavar="FILE",
        help="page to write (comparison.html)",
    )
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Write the page, and print how the runs performed."""
    from pipeline.local_runs import find_run
    from qc_core.files import require_file_place
    from qc_core.runs.comparison import PHASES, compare
    from qc_core.runs.page import write_page
    from qc_core.store.open import open_store

    page: Path = options.output
    if page.suffix != ".html":
        raise UsageError(f"--output must be an .html file, got {page}")
    require_file_place(page)
    store = open_store()
    runs = [find_run(store, reference) for reference in options.runs]
    if len({run.run_id for run in runs}) < 2:
        raise UsageError("give at least two different runs: `qc runs` lists them")
    comparison = compare(runs)
    write_page(comparison, shlex.join(["qc", "compare", *options.runs, "-o", str(page)]), page)
    if options.json:
        print_json({"page": str(page), **comparison.as_dict()})
        return
    form = "{:.0%}" if comparison.measure == "success" else "{:.1f}"
    print_table(
        ("runs", "seeds", *(f"{phase} {comparison.measure}" for phase in PHASES)),
        [
            (g.label, " ".join(map(str, g.seeds)), *(estimate(e, form) for e in found.values()))
            for g, found in zip(comparison.groups, comparison.performance, strict=True)
        ],
    )
    print(f"\npage  {page}")

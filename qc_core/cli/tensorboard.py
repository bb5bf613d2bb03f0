"""`qc tensorboard`: show the metrics of runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from qc_core.cli.parser import Parser

_HELP = """show the metrics of runs in TensorBoard, while they train and afterwards

Without a run, it shows every run below ./runs."""


def arguments(parser: Parser) -> None:
    parser.description = _HELP
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="run folder, or id of a run on the cluster, whose metrics are in the store",
    )
    parser.add_argument("--port", type=int, default=6006, help="port of the page (6006)")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Show the runs until Ctrl-C."""
    from qc_core.scratch import scratch_folder
    from qc_core.tracking.viewer import copying, show

    if not options.runs:
        return show(Path("runs"), options.port)
    with scratch_folder("tensorboard") as folder, copying(options.runs, folder):
        return show(folder, options.port)

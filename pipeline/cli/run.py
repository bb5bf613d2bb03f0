"""`qc run`: run the complete pipeline on this machine and print a summary."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from qc_core.cli.arguments import fresh_argument, json_argument, recipe_argument
from qc_core.cli.output import print_evaluation, print_json, print_table
from qc_core.cli.parser import Parser


def arguments(parser: Parser) -> None:
    recipe_argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="run folder (default: ./runs/ID-NAME, or that of the unfinished run of the same "
        "command)",
    )
    parser.add_argument(
        "--continue",
        dest="earlier",
        type=Path,
        metavar="DIR",
        help="folder of an earlier run with the same options: take over what it has finished; "
        "--tune.trials may be larger",
    )
    fresh_argument(parser)
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Run a recipe and print its result."""
    from qc_core.config.resolve import expand, resolve

    name, overrides = expand(options.recipe, options.overrides)
    config = resolve(name, overrides)
    if os.environ.get("QC_DEVICE", "") not in ("", "cpu"):
        # Refuse an unusable device before the data is collected.
        from qc_core.training.device import training_device

        training_device()
    # Options are checked before kfp is imported, which takes some seconds.
    from pipeline.local import UpToDate, run_locally
    from qc_core.registry.registry import CHAMPION, LATEST

    with redirect_stdout(sys.stderr):
        result = run_locally(
            name, overrides, config, options.output, fresh=options.fresh, earlier=options.earlier
        )
    if options.json:
        print_json(result.as_dict())
        return
    if isinstance(result, UpToDate):
        print(f"dataset  {result.folder}\n\n{result.verdict}")
        return
    promotion, episodes = result.promotion, result.evaluation.episodes
    alias = CHAMPION if promotion.champion else LATEST
    print()
    print_evaluation(f"policy ({episodes} unseen episodes)", result.evaluation)
    print()
    print_table(
        ("step", "time"), [(step, f"{seconds:.0f} s") for step, seconds in result.seconds.items()]
    )
    pulled = f"{promotion.name}-{promotion.version}"
    print(
        f"\nreport  {result.report}\n"
        f"policy  {promotion.name}:{promotion.version} ({alias}) in {promotion.store}\n"
        "\nnext\n"
        "  qc policies\n"
        f"  qc pull {promotion.name}:{promotion.version} -o {pulled}\n"
        + (
            f"  qc play {pulled}"
            if result.evaluation.policies
            else f"  qc promote {promotion.name}:{promotion.version} --approve"
        )
        + f"\n\n{result.verdict}"
    )

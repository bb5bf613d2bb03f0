"""`qc run`: the pipeline here, then a short account of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from qc_core.cli.output import print_json, print_policies, print_table
from qc_core.config.resolve import expand, resolve
from qc_core.registry.registry import CHAMPION, LATEST


def run(recipe: str, overrides: Sequence[str], folder: Path | None, *, as_json: bool) -> None:
    """Run a recipe and print what came of it.

    Args:
        folder: run folder; None makes one in ./runs, named by time and recipe.
    """
    from pipeline.local import UpToDate, run_locally

    config = resolve(recipe, overrides)
    if os.environ.get("QC_DEVICE"):
        # Better refused now than after the data is collected.
        from qc_core.training.device import training_device

        training_device()
    name, words = expand(recipe, overrides)
    if folder is None:
        folder = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{config.recipe}"
    with redirect_stdout(sys.stderr):
        result = run_locally(name, words, config.tune.workers, folder)
    if as_json:
        print_json(result.as_dict())
        return
    if isinstance(result, UpToDate):
        print(f"{result.text}: no training, {folder} has the data set")
        return
    promotion, episodes = result.promotion, result.evaluation.episodes
    alias = CHAMPION if promotion.champion else LATEST
    print()
    print_policies(f"policy ({episodes} unseen episodes)", result.evaluation.policies)
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
        f"  qc pull {promotion.name}@{alias} -o {pulled}\n"
        f"  qc play {pulled}"
    )

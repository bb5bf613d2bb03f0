"""The main job end to end: collect, pretrain, tune, evaluate, export; success and seconds."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from benchmarks.gpu import product
from benchmarks.gpu.context import Context

_RECIPE, _TINY_RECIPE = "cube-single-quickstart", "smoke"


def run(context: Context) -> None:
    cores = len(os.sched_getaffinity(0))
    folder = context.work / "quickstart"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = _TINY_RECIPE if context.tiny else _RECIPE
    options = [
        *("--data.workers", min(cores, 16)),
        *("--tune.trials-per-gpu", 4),
        *("--tune.workers", 1),
        *("--evaluate.workers", min(cores, 16)),
    ]
    if context.tiny:
        options += ["--tune.trials", 1, "--evaluate.episodes", 2, "--train.online-steps", 30]
    data, offline, online = folder / "data", folder / "offline", folder / "online"
    steps: dict[str, tuple[str | Path | int, ...]] = {
        "collect": ("ingest", recipe, "-o", data),
        "pretrain": ("pretrain", recipe, data, "-o", offline),
        "tune": ("tune", recipe, data, offline, "-o", online),
    }
    start = time.monotonic()
    with context.attempt("quickstart"):
        for name, words in steps.items():
            begun = time.monotonic()
            product.qc(*words, *options)
            context.record("seconds", time.monotonic() - begun, step=name, recipe=recipe)
        begun = time.monotonic()
        evaluation = product.qc_json(
            "evaluate", recipe, offline, online, "-o", folder / "evaluation.json", *options
        )
        context.record("seconds", time.monotonic() - begun, step="evaluate", recipe=recipe)
        for policy in evaluation["policies"]:
            context.record("success", policy["success"], policy=policy["name"], recipe=recipe)
        begun = time.monotonic()
        product.qc("export", online, "-o", folder / "policy")
        context.record("seconds", time.monotonic() - begun, step="export", recipe=recipe)
        context.record("seconds", time.monotonic() - start, step="all", recipe=recipe)

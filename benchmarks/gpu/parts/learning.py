"""Learning runs of published results, in the time that is left.

The published runs learn from OGBench's official files, which cannot be downloaded here. These runs
learn from fewer episodes of the same kind, `play`, collected at the start. Their figures show
whether learning on the GPU works, and do not reproduce a published number.

Each run uses the command line: `qc pretrain` saves a checkpoint about once a minute, and a run that
is interrupted resumes when the kit is started again with the same scratch folder.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu import product
from benchmarks.gpu.context import Context, NotMeasured


@dataclass(frozen=True, slots=True)
class Cell:
    """One published result.

    Attributes:
        offline_steps, online_steps: after which it was published.
        published: success in percent.
    """

    recipe: str
    method: str
    offline_steps: int
    online_steps: int
    published: int


_CELLS = (
    Cell("puzzle-3x3-sparse-task4", "qc", 100_000, 0, 97),
    Cell("cube-double-task1", "qc", 100_000, 0, 46),
    Cell("cube-double-task1", "qc-fql", 100_000, 0, 20),
    Cell("cube-triple-task1", "qc", 1_000_000, 100_000, 100),
)
_TINY_CELLS = (Cell("cube-single-task1", "qc-fql", 20, 0, 0),)

# Shares of a cell's time; the rest is for starting processes, exporting and playing.
_COLLECTING, _LEARNING = 0.25, 0.5
# Transitions per second and core of `play` collection, and rates where none was measured.
_COLLECTION_RATE, _UPDATE_RATE = 300.0, 500.0
_MINIMUM_SECONDS = 60.0
_EPISODES = 50
_EPISODE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What one cell does, decided once, so that an interrupted run resumes."""

    episodes: int
    offline_steps: int


def run(context: Context) -> None:
    for cell in _TINY_CELLS if context.tiny else _CELLS:
        labels = {"recipe": cell.recipe, "method": cell.method}
        with context.attempt("success", **labels):
            context.require(_MINIMUM_SECONDS)
            if cell.online_steps:
                needed = cell.offline_steps / _update_rate(context, cell.method)
                if context.left() < needed:
                    raise NotMeasured(
                        f"not run: {cell.offline_steps:,} offline updates need {needed:.0f} s, "
                        f"{context.left():.0f} s are left"
                    )
            _learn(context, cell, labels)


def _learn(context: Context, cell: Cell, labels: dict[str, str]) -> None:
    folder = context.work / "learning" / f"{cell.recipe}-{cell.method}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(context, cell, folder)
    cores = min(16, len(os.sched_getaffinity(0)))
    options = [
        *("--train.method", cell.method),
        *("--data", "collect"),
        *("--data.collection", "play"),
        *("--data.episodes", plan.episodes),
        *("--data.workers", cores),
        *("--train.offline-steps", plan.offline_steps),
    ]
    if cell.online_steps:
        options += ["--train.online-steps", cell.online_steps, "--tune.evaluations", 1]
    if context.tiny:
        options += ["--train.hidden-dims", 16, "--train.batch-size", 16]
    data, offline = folder / "data", folder / "offline"
    context.record("published success", cell.published / 100, **labels)
    context.record(
        "data",
        f"{plan.episodes} own `play` episodes of {_EPISODE_STEPS} steps instead of the official "
        "file",
        **labels,
    )
    start = time.monotonic()
    if not data.exists():
        product.qc("ingest", cell.recipe, "-o", data, *options)
        context.record("seconds", time.monotonic() - start, step="collect", **labels)
    begun = time.monotonic()
    if not offline.exists():
        product.qc("pretrain", cell.recipe, data, "-o", offline, *options)
        context.record("seconds", time.monotonic() - begun, step="pretrain", **labels)
    checkpoint = offline
    if cell.online_steps:
        checkpoint = folder / "online"
        product.qc("tune", cell.recipe, data, offline, "-o", checkpoint, *options)
    policy = folder / "policy"
    if not policy.exists():
        product.qc("export", checkpoint, "-o", policy)
    played = product.qc_json(
        "play", policy, "--episodes", 2 if context.tiny else _EPISODES, "--workers", cores
    )
    context.record(
        "success",
        played["success"],
        offline_steps=plan.offline_steps,
        published_offline_steps=cell.offline_steps,
        **labels,
    )


def _plan(context: Context, cell: Cell, folder: Path) -> Plan:
    """As many episodes and updates as fit, at most the published updates."""
    path = folder / "plan.json"
    if path.exists():
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    if context.tiny:
        plan = Plan(1, cell.offline_steps)
    else:
        cores = min(16, len(os.sched_getaffinity(0)))
        transitions = _COLLECTING * context.left() * cores * _COLLECTION_RATE
        updates = _LEARNING * context.left() * _update_rate(context, cell.method)
        plan = Plan(
            min(1000, max(cores, int(transitions / _EPISODE_STEPS))),
            min(cell.offline_steps, max(1000, int(updates) // 1000 * 1000)),
        )
    path.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    return plan


def _update_rate(context: Context, method: str) -> float:
    """Updates per second that part `updates` measured for this method, or a cautious guess."""
    rates = [
        figure["value"]
        for figure in context.results.figures("updates")
        if figure["name"] == "updates/s"
        and figure.get("method") == method
        and figure.get("network") == "4x512"
        and figure.get("batch") == 256
        and figure.get("kernels") == product.BFLOAT16
        and isinstance(figure["value"], int | float)
    ]
    return 0.9 * rates[0] if rates else _UPDATE_RATE

"""Measures the speed of scripted collection, and how it scales with cores.

Collects and writes datasets with one process and with several, the same number of episodes per
process. The rate covers the time in which all processes are busy. It excludes the start, and the
end, when some processes have no episodes left. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.collect -o benchmarks/results/collect.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

from benchmarks.hardware import hardware
from qc_core.config.settings import Collection
from qc_core.data.collection.collect import collect_episodes
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.envs.make import describe
from qc_core.policy_format.data_source import DataSource

_FAMILIES = ("cube-double", "scene", "puzzle-3x3")
# Factor by which episodes are shorter, because they end at success.
_SHORTER = {"task": 5, "mixed": 4}


def measure(
    environment: str, collection: Collection, workers: int, episodes: int
) -> dict[str, float]:
    """Measure transitions per second of processes that collect `episodes` episodes each."""
    counts, times = [], []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder:
        writer = DatasetWriter(Path(folder), describe(environment))
        seeds = range(workers * episodes)
        for episode in collect_episodes(environment, seeds, collection=collection, workers=workers):
            writer.append(episode)
            counts.append(len(episode.actions))
            times.append(time.monotonic() - start)
        writer.finish(DataSource(kind="benchmark"))
    # From `first` every process is busy; after `last` some may have finished.
    first, last = workers - 1, len(counts) - 1 - workers
    return {
        "transitions": sum(counts),
        "transitions-per-second": sum(counts[first + 1 : last + 1]) / (times[last] - times[first]),
        "seconds-to-first-episode": times[0],
    }


def compare(family: str, collection: Collection, workers: int, episodes: int) -> dict[str, Any]:
    """Compare one process with several."""
    environment = f"{family}-singletask-v0"
    episodes *= _SHORTER.get(collection, 1)
    load = os.getloadavg()[0]
    one = measure(environment, collection, 1, episodes)
    several = measure(environment, collection, workers, episodes)
    gain = several["transitions-per-second"] / (workers * one["transitions-per-second"])
    return {
        "family": family,
        "collection": collection,
        "load-before": round(load, 1),
        "one-process": {name: round(value, 1) for name, value in one.items()},
        "several-processes": {name: round(value, 1) for name, value in several.items()},
        "ratio-to-workers-times-one": round(gain, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--episodes", type=int, default=10, help="play episodes per process, at least 4"
    )
    parser.add_argument("--families", nargs="+", default=_FAMILIES)
    parser.add_argument(
        "--collections", nargs="+", default=get_args(Collection), choices=get_args(Collection)
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.collect --workers {options.workers} "
        f"--episodes {options.episodes} --families {' '.join(options.families)} "
        f"--collections {' '.join(options.collections)}",
        "hardware": hardware(),
        "workers": options.workers,
        "rows": rows,
    }
    several = f"{options.workers} processes"
    print(
        f"{'family':15} {'collection':10} {'1 process':>12} {several:>12} {'ratio':>6}  load before"
    )
    for family, collection in itertools.product(options.families, options.collections):
        row = compare(family, collection, options.workers, options.episodes)
        rows.append(row)
        rates = (
            row[name]["transitions-per-second"] for name in ("one-process", "several-processes")
        )
        print(
            f"{family:15} {collection:10} {next(rates):10.0f}/s {next(rates):10.0f}/s "
            f"{row['ratio-to-workers-times-one']:6.0%}  {row['load-before']}",
            flush=True,
        )
        if options.output:
            options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

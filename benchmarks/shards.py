"""Measures whether memory grows with the size of a dataset, for ingest and for training.

Makes npz shards of OGBench's format for cube-quadruple, ingests them with `qc ingest`, and samples
training windows from shards of the dataset that are loaded in turn. Repeats this for several
numbers of npz shards, each in separate processes. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.shards --shards 2 8 --rows 1000000 \
        -o benchmarks/results/shards.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import hardware
from benchmarks.quickstart import PeakMemory

_ENVIRONMENT = "cube-quadruple-singletask-task1-v0"
_SIZES = {"observations": 55, "actions": 5, "qpos": 42, "qvel": 38}
_EPISODE_ROWS = 1001
# Updates before the next shard of the dataset is loaded.
_SHARD_UPDATES = 100


def make_shards(folder: Path, shards: int, rows: int) -> None:
    """Write one compressed file as OGBench does, and link it under the other names."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        name: rng.uniform(-1, 1, (rows, size)).astype(np.float32) for name, size in _SIZES.items()
    }
    arrays["terminals"] = np.arange(rows) % _EPISODE_ROWS == _EPISODE_ROWS - 1
    first = folder / "cube-quadruple-play-v0-000.npz"
    np.savez_compressed(first, **arrays)
    for shard in range(1, shards):
        os.link(first, folder / f"cube-quadruple-play-v0-{shard:03d}.npz")


def measure(
    shards: Path, rows: int, shard_size: int, updates: int, scratch: Path
) -> dict[str, Any]:
    """Ingest the npz shards and sample from the result, each in a separate process."""
    dataset = scratch / "dataset"
    argv = ["ingest", "cube-single-quickstart", "-o", str(dataset), "--data", str(shards)]
    ingested = watched("qc_core.cli.main", [*argv, "--environment", _ENVIRONMENT, "--json"])
    content = json.loads(ingested["output"])
    drawn = watched("benchmarks.shards", ["--draw", str(dataset), str(shard_size), str(updates)])
    return {
        "rows": rows,
        "transitions": content["transitions"],
        "ingest": {
            "seconds": ingested["seconds"],
            "rows-per-second": round(rows / ingested["seconds"]),
            "peak-memory-mib": ingested["peak-memory-mib"],
        },
        "draw": {
            **json.loads(drawn["output"]),
            "shard-size": shard_size,
            "peak-memory-mib": drawn["peak-memory-mib"],
        },
    }


def draw(dataset: Path, shard_size: int, updates: int) -> dict[str, Any]:
    """Sample one batch of windows per update, as offline training does."""
    import torch

    from qc_core.config.settings import Config
    from qc_core.data.dataset.dataset import open_dataset
    from qc_core.data.replay.replay import OfflineData
    from qc_core.data.replay.shards import Shards
    from qc_core.data.replay.windows import sample_windows

    config = Config()
    data = replace(config.data, shard_size=shard_size, shard_updates=_SHARD_UPDATES)
    config = replace(config, data=data)
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    start = time.monotonic()
    load = partial(OfflineData, device=device, config=config.data)
    with Shards(open_dataset(dataset), config, load) as loaded:
        for update in range(1, updates + 1):
            sample_windows(loaded.shard_at(update), config, generator)
        seconds = time.monotonic() - start
        return {
            "parts": len(loaded),
            "updates": updates,
            "windows-per-second": round(updates * config.train.batch_size / seconds),
        }


def watched(module: str, argv: Sequence[str]) -> dict[str, Any]:
    """Run a module; return its output, its seconds from start to end and its peak memory."""
    start = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", module, *argv], stdout=subprocess.PIPE)
    peak = PeakMemory(child.pid)
    output, _ = child.communicate()
    seconds = time.monotonic() - start
    if child.returncode:
        raise SystemExit(f"{module} {' '.join(argv)} failed")
    return {"output": output, "seconds": round(seconds, 1), "peak-memory-mib": peak.stop()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=[2, 8])
    parser.add_argument(
        "--rows", type=int, default=250_000, help="rows of each npz shard, in complete episodes"
    )
    parser.add_argument(
        "--shard-size", type=int, default=500_000, help="transitions per shard in memory"
    )
    parser.add_argument("--updates", type=int, default=3_000, help="batches of windows to sample")
    parser.add_argument("--draw", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.draw:
        dataset, shard_size, updates = options.draw
        print(json.dumps(draw(Path(dataset), int(shard_size), int(updates))))
        return
    runs: list[dict[str, Any]] = []
    counts = " ".join(map(str, options.shards))
    content = {
        "command": f"python -m benchmarks.shards --shards {counts} --rows {options.rows} "
        f"--shard-size {options.shard_size} --updates {options.updates}",
        "hardware": hardware(),
        "runs": runs,
    }
    rows = options.rows // _EPISODE_ROWS * _EPISODE_ROWS
    for count in options.shards:
        with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as scratch:
            shards = Path(scratch) / "shards"
            shards.mkdir()
            make_shards(shards, count, rows)
            row = measure(shards, count * rows, options.shard_size, options.updates, Path(scratch))
        runs.append({"shards": count, **row})
        print(
            f"{count} shards, {row['rows']:,} rows | ingested at "
            f"{row['ingest']['rows-per-second']:,} rows/s in "
            f"{row['ingest']['peak-memory-mib']} MiB | {row['draw']['parts']} shards in turn, "
            f"{row['draw']['windows-per-second']:,} windows/s in "
            f"{row['draw']['peak-memory-mib']} MiB",
            flush=True,
        )
        if options.output:
            options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

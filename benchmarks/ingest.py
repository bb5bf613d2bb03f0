"""Measures how fast `qc ingest` converts a large npz file, and how soon training starts on it.

Makes a file of OGBench's format for cube-double, compressed as OGBench writes it and uncompressed,
and ingests each with `qc ingest`. For comparison, NumPy loads and saves every array of the same
file. Then samples batches of windows at the paper's sizes from the dataset, and measures the time
to the first update of a new and of a resumed training. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.ingest -o benchmarks/results/ingest.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from benchmarks.hardware import hardware
from benchmarks.shards import watched

_RECIPE = "cube-double"
_METHOD = ["--train.method", "qc-fql"]
_SIZES = {"observations": 37, "actions": 5, "qpos": 28, "qvel": 26}
_EPISODE_ROWS = 1000
_BATCHES = 2000
_PROGRAM = "benchmarks.ingest"


def make_arrays(rows: int) -> dict[str, Any]:
    """Return random arrays of OGBench's format for cube-double, with this many rows."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        name: rng.uniform(-1, 1, (rows, size)).astype(np.float32) for name, size in _SIZES.items()
    }
    arrays["terminals"] = np.arange(rows) % _EPISODE_ROWS == _EPISODE_ROWS - 1
    return arrays


def make_files(folder: Path, rows: int) -> tuple[dict[str, Path], int]:
    """Write the same rows compressed and uncompressed; return the files and the bytes in memory."""
    arrays = make_arrays(rows)
    files = {form: folder / form / "cube-double-play-v0.npz" for form in ("compressed", "plain")}
    for form, save in (("compressed", np.savez_compressed), ("plain", np.savez)):
        files[form].parent.mkdir()
        save(files[form], **arrays)
    return files, sum(array.nbytes for array in arrays.values())


def load_and_save(file: Path, folder: Path) -> None:
    """Load and save the arrays of a file with NumPy, as a lower bound for the work."""
    with np.load(file) as arrays:
        for name, values in {name: arrays[name] for name in arrays.files}.items():
            np.save(folder / f"{name}.npy", values)


def measure_ingest(file: Path, rows: int, bytes_in_memory: int, scratch: Path) -> dict[str, Any]:
    """Measure `qc ingest` and NumPy on the same file, in separate processes."""
    dataset = scratch / "dataset"
    scratch.mkdir()
    load = os.getloadavg()[0]
    argv = ["ingest", _RECIPE, "-o", str(dataset), "--data", str(file), "--json"]
    ingested = watched("qc_core.cli.main", argv)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copied = watched(_PROGRAM, ["--copy", str(file), folder])
    del copied["output"]
    mib = bytes_in_memory / 2**20
    return {
        "load-before": round(load, 1),
        "digest": json.loads(ingested["output"])["digest"],
        "seconds": ingested["seconds"],
        "rows-per-second": round(rows / ingested["seconds"]),
        "peak-memory-mib": ingested["peak-memory-mib"],
        "peak-memory-to-arrays": round(ingested["peak-memory-mib"] / mib, 2),
        "numpy": copied,
    }


def measure_sampling(dataset: Path) -> dict[str, Any]:
    """Measure microseconds per batch of windows, memory-mapped and from the replay buffer."""
    import torch

    from qc_core.config.resolve import resolve
    from qc_core.data.dataset.dataset import open_dataset
    from qc_core.data.replay.replay import OfflineData, Replay
    from qc_core.data.replay.windows import Transitions, sample_windows

    config, device = resolve(_RECIPE, _METHOD), torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    offline = OfflineData(open_dataset(dataset), device, config.data)
    replay = Replay(
        offline.size + 1,
        _SIZES["observations"],
        offline.action_bounds,
        device,
        config,
        offline,
    )

    def draw(transitions: Transitions) -> Callable[[], object]:
        return lambda: sample_windows(transitions, config, generator)

    return {
        "batch": config.train.batch_size,
        "data-set": _microseconds(draw(offline)),
        "replay": _microseconds(draw(replay)),
    }


def _microseconds(draw: Callable[[], object]) -> dict[str, int]:
    times = []
    for _ in range(_BATCHES):
        start = time.perf_counter()
        draw()
        times.append((time.perf_counter() - start) * 1e6)
    # The lower quartile approximates the cost on idle cores.
    return {"lower-quartile": round(quantiles(times)[0]), "median": round(median(times))}


def measure_start(dataset: Path, repeats: int, scratch: Path) -> dict[str, Any]:
    """Measure seconds from the start of `qc pretrain` to its first update, new and resumed.

    Uses the paper's networks; the resumed training has done one update.
    """
    argv = ["pretrain", _RECIPE, str(dataset), *_METHOD]
    new, resumed = scratch / "new", scratch / "resumed"
    subprocess.run(
        [sys.executable, "-m", _PROGRAM, "--interrupt", str(dataset), str(resumed)], check=True
    )
    load = os.getloadavg()[0]
    return {
        "load-before": round(load, 1),
        "new": [_seconds_to_update([*argv, "-o", str(new)]) for _ in range(repeats)],
        "resumed": [_seconds_to_update([*argv, "-o", str(resumed)]) for _ in range(repeats)],
    }


def _seconds_to_update(argv: Sequence[str]) -> float:
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-m", _PROGRAM, "--first-update", *argv],
        check=True,
        capture_output=True,
        text=True,
    )
    return round(json.loads(done.stdout) - start, 2)


def first_update(argv: Sequence[str]) -> None:
    """Run a `qc` command, print the time of its first update, and exit."""
    from qc_core.cli.main import main as qc
    from qc_core.progress import Progress

    def end(*_: object, **__: object) -> None:
        print(time.time(), flush=True)
        os._exit(0)

    Progress.update = end
    raise SystemExit(qc(argv))


def interrupt(dataset: Path, output: Path) -> None:
    """Write the checkpoint of a training that is interrupted after its first update."""
    from qc_core.config.resolve import resolve
    from qc_core.data.dataset.dataset import open_dataset
    from qc_core.training.checkpoint import Checkpoint
    from qc_core.training.checkpoint_store import CheckpointStore
    from qc_core.training.device import training_device
    from qc_core.training.local_checkpoints import LocalCheckpoints, partial_folder
    from qc_core.training.offline import OfflineTraining

    config, data = resolve(_RECIPE, _METHOD), open_dataset(dataset)
    with OfflineTraining(config, data, training_device()) as training:
        training.run(1, lambda *_: None)
        info = Checkpoint(
            config=config,
            spec=data.spec,
            dataset_digest=data.digest,
            offline_steps=1,
            online_steps=0,
        )
        store = CheckpointStore(LocalCheckpoints(partial_folder(output)), "pretraining")
        store.save(training.agent, info, training.curve, training.state())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the file, in complete episodes of 1000"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--copy", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--interrupt", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first-update", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.copy:
        load_and_save(*options.copy)
        return
    if options.interrupt:
        interrupt(*options.interrupt)
        return
    if options.first_update:
        first_update(options.first_update)
        return
    content: dict[str, Any] = {
        "command": f"python -m benchmarks.ingest --rows {options.rows} --repeats {options.repeats}",
        "hardware": hardware(),
        "rows": options.rows,
    }
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as name:
        scratch = Path(name)
        files, size = make_files(scratch, options.rows)
        content["arrays-mib"] = round(size / 2**20)
        print(f"{options.rows:,} rows, {content['arrays-mib']} MiB in memory")
        for form, file in files.items():
            content[form] = []
            for repeat in range(options.repeats):
                folder = scratch / f"{form}-{repeat}"
                row = measure_ingest(file, options.rows, size, folder)
                content[form].append(row)
                print(
                    f"{form:10} {row['seconds']:5.1f} s, {row['rows-per-second']:9,} rows/s, "
                    f"{row['peak-memory-mib']} MiB ({row['peak-memory-to-arrays']} of the arrays) "
                    f"| NumPy {row['numpy']['seconds']:5.1f} s, "
                    f"{row['numpy']['peak-memory-mib']} MiB | load before {row['load-before']}",
                    flush=True,
                )
        dataset = scratch / "plain-0" / "dataset"
        content["sampling"] = sampling = measure_sampling(dataset)
        for source in ("data-set", "replay"):
            times = sampling[source]
            print(
                f"{sampling['batch']} windows, {source:8} {times['lower-quartile']} µs, "
                f"median {times['median']} µs"
            )
        content["seconds-to-first-update"] = start = measure_start(
            dataset, options.repeats, scratch
        )
        print(
            f"to the first update: new {start['new']} s, resumed {start['resumed']} s, "
            f"load before {start['load-before']}"
        )
    if options.output:
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Measures whether the methods learn: a sweep on a CPU, its curves and final results.

    python -m benchmarks.learning benchmarks/learning.yaml -o benchmarks/results/learning

An interrupted sweep resumes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

import msgspec

from benchmarks.hardware import hardware
from qc_core.cli.output import print_table
from qc_core.cli.sweep import as_table
from qc_core.sweeps.definition import read_sweep
from qc_core.sweeps.run import FIGURE, RESULTS, run_sweep
from qc_core.sweeps.summary import final_scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whether the methods learn.")
    parser.add_argument("sweep", type=Path, help="YAML file of the sweep")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="output path without a suffix"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/learning"), help="sweep folder")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    sweep = read_sweep(options.sweep)
    start = time.monotonic()
    scores = final_scores(sweep, run_sweep(sweep, options.work, options.workers))
    content = {
        "hardware": hardware(),
        "command": f"python -m benchmarks.learning {options.sweep} -o {options.output}",
        "sweep": sweep.manifest,
        "workers": options.workers,
        "seconds": round(time.monotonic() - start),
        "final-scores": scores,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # `msgspec.json` writes missing intervals as null; JSON has no NaN.
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    options.output.with_suffix(".json").write_bytes(text + b"\n")
    shutil.copyfile(options.work / RESULTS, options.output.with_suffix(".csv"))
    shutil.copyfile(options.work / FIGURE, options.output.with_suffix(".svg"))
    print_table(*as_table(scores))


if __name__ == "__main__":
    main()

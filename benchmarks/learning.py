"""Do the methods learn? A study on a CPU, its curves and a table of where each method ends.

    python -m benchmarks.learning benchmarks/learning.yaml -o benchmarks/results/learning

It goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware
from qc_core.cli.output import estimate, print_table
from qc_core.statistics import mean
from qc_core.study.definition import Study, read_study
from qc_core.study.run import FIGURE, RESULTS, run_study


def main() -> None:
    parser = argparse.ArgumentParser(description="do the methods learn?")
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="without a suffix")
    parser.add_argument("--work", type=Path, default=Path("runs/learning"), help="study folder")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    study = read_study(options.study)
    start = time.monotonic()
    rows = run_study(study, options.work, options.workers)
    content = {
        "hardware": hardware(),
        "command": f"python -m benchmarks.learning {options.study} -o {options.output}",
        "study": study.as_mapping(),
        "workers": options.workers,
        "seconds": round(time.monotonic() - start),
        "ends": _ends(study, rows),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    shutil.copyfile(options.work / RESULTS, options.output.with_suffix(".csv"))
    shutil.copyfile(options.work / FIGURE, options.output.with_suffix(".svg"))
    print_table(
        ("recipe", "method", "step", "success, 95% over seeds", "steps"),
        [
            (
                end["recipe"],
                end["method"],
                f"{end['step']:,.0f}",
                estimate(end["success"], "{:.0%}"),
                estimate(end["steps"], "{:.0f}"),
            )
            for end in content["ends"]
        ],
    )


def _ends(study: Study, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each method at the end of its offline and of its online phase."""
    ends = []
    for recipe in study.recipes:
        train = study.data_config(recipe).train
        for method in study.methods:
            for step in (train.offline_steps, train.offline_steps + train.online_steps):
                found = [
                    row
                    for row in rows
                    if (row["recipe"], row["method"], row["step"]) == (recipe, method, step)
                ]
                if found:
                    ends.append(
                        {
                            "recipe": recipe,
                            "method": method,
                            "step": step,
                            "seeds": len(found),
                            "success": mean([row["success"] for row in found])._asdict(),
                            "steps": mean([row["steps"] for row in found])._asdict(),
                        }
                    )
    return ends


if __name__ == "__main__":
    main()

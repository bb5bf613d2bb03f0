"""Measures success, time and memory of the quickstart (`make run`).

For each seed: runs the quickstart with a store of its own, pulls the policy by name, and plays
50 unseen episodes with it, through the command line. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.quickstart --seeds 0 1 2 -o benchmarks/results/quickstart.json

Options of `qc run`, such as --train.precision bfloat16, are passed on to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware

_QC = [sys.executable, "-m", "qc_core.cli.main"]
_EPISODES = 50


def measure(seed: int, recipe: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the recipe once and return times, memory and the pulled policy's success."""
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as scratch:
        environment = {**os.environ, "QC_STORE": f"{scratch}/store"}
        start = time.monotonic()
        run = subprocess.Popen(
            [*_QC, "run", recipe, "-o", "run", "--seed", str(seed), "--json", *overrides],
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        peak = PeakMemory(run.pid)
        output, _ = run.communicate()
        seconds = time.monotonic() - start
        if run.returncode:
            raise SystemExit(f"the run with seed {seed} failed")
        result = json.loads(output)
        for argv in (
            ["pull", f"{recipe}@champion", "-o", "pulled"],
            ["play", "pulled", "--episodes", str(_EPISODES), "--json"],
        ):
            done = subprocess.run(
                [*_QC, *argv],
                cwd=scratch,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
        played = json.loads(done.stdout)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "seconds-per-step": {k: round(v, 1) for k, v in result["seconds"].items()},
        "peak-memory-mib": peak.stop(),
        "evaluation": {
            policy["name"]: {
                key: {k: round(v, 3) for k, v in policy[key].items()}
                for key in (
                    "success",
                    "steps",
                    "success-gain",
                    "steps-saved",
                )
            }
            for policy in result["evaluation"]["policies"]
        },
        "pulled-policy": {key: played[key] for key in ("episodes", "success", "steps")},
    }


class PeakMemory(threading.Thread):
    """Samples the proportional set size of a process and its descendants twice a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._peak, self._done = pid, 0, threading.Event()
        self.start()

    def stop(self) -> int:
        """Return the highest sum so far, in MiB."""
        self._done.set()
        self.join()
        return self._peak // 1024

    def run(self) -> None:
        while not self._done.wait(0.5):
            self._peak = max(self._peak, sum(map(_pss_kib, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _pss_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--recipe", default="cube-single-quickstart")
    parser.add_argument("-o", "--output", type=Path)
    options, overrides = parser.parse_known_args()
    runs: list[dict[str, Any]] = []
    argv = ["--recipe", options.recipe, "--seeds", *map(str, options.seeds), *overrides]
    content = {
        "command": f"python -m benchmarks.quickstart {shlex.join(argv)}",
        "hardware": hardware(),
        "runs": runs,
    }
    for seed in options.seeds:
        runs.append(measure(seed, options.recipe, overrides))
        row = runs[-1]
        names = " | ".join(
            f"{name} {entry['success']['value']:.0%}, {entry['steps']['value']:.0f} steps"
            for name, entry in row["evaluation"].items()
        )
        pulled = row["pulled-policy"]["success"]
        print(
            f"seed {seed}: {row['seconds']:.0f} s, {row['peak-memory-mib']} MiB | {names} | "
            f"pulled {pulled['value']:.0%} ({pulled['low']:.0%} to {pulled['high']:.0%})",
            flush=True,
        )
        if options.output:
            options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

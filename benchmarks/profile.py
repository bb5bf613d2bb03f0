"""Measures which operations take the time of an update, and what each choice of kernels gains.

On the CPU at the reference size: the operations that take most of the time, with plain torch and
with the kernels that training chooses, and the time per update with one choice added at a time.

    .venv/bin/python -m benchmarks.profile -o benchmarks/results/profile.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.hardware import hardware
from benchmarks.update import REFERENCE, SMALL, Case, Runner, random_dataset
from qc_core.networks.kernels import CPU_FLOAT32, PLAIN, Kernels, choose

_CPU = torch.device("cpu")
_CASES = (Case("qc", REFERENCE), Case("qc-fql", REFERENCE), Case("qc-fql", SMALL))
_ROWS = 8
_PROFILED = 3


def choices() -> list[Kernels]:
    """Return plain torch, then the kernels that training chooses, one choice added at a time."""
    plain = replace(PLAIN, name="float32, plain torch")
    quick = replace(PLAIN, name="quick GELU", quick_gelu=True)
    parts = replace(quick, name="samples in parts", rows=CPU_FLOAT32.rows)
    fast = choose(_CPU, "auto")
    return [plain, quick, parts, *([fast] if fast.hidden_dtype is not None else [])]


def shares(runner: Runner, kernels: Kernels) -> dict[str, float]:
    """Return the operations that take most of an update's CPU time, with their shares."""
    runner.rate(kernels, 0, recorded=False)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(_PROFILED):
            runner.update()
    averages = profiler.key_averages()
    total = sum(entry.self_cpu_time_total for entry in averages)
    largest = sorted(averages, key=lambda entry: -entry.self_cpu_time_total)[:_ROWS]
    return {entry.key: round(entry.self_cpu_time_total / total, 3) for entry in largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="turns of each choice")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each turn")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.profile --turns {options.turns} "
        f"--seconds {options.seconds:g}",
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "rows": rows,
    }
    kinds = choices()
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder:
        dataset = random_dataset(Path(folder) / "dataset")
        for case in _CASES:
            runner = Runner(case, dataset, _CPU)
            rates = [0.0] * len(kinds)
            for _ in range(options.turns):
                for i, kind in enumerate(kinds):
                    rates[i] = max(rates[i], runner.rate(kind, options.seconds, recorded=False))
            row = {
                "method": case.method,
                "hidden-dims": list(case.hidden_dims),
                "milliseconds-per-update": {
                    kind.name: round(1e3 / rate, 1) for kind, rate in zip(kinds, rates, strict=True)
                },
                "shares": {kind.name: shares(runner, kind) for kind in (kinds[0], kinds[-1])},
            }
            rows.append(row)
            print(f"\n{case.method}, {len(case.hidden_dims)}x{case.hidden_dims[0]}")
            for name, milliseconds in row["milliseconds-per-update"].items():
                print(f"  {milliseconds:9.1f} ms  {name}")
            for name, operations in row["shares"].items():
                print(
                    f"  {name}: "
                    + ", ".join(f"{op} {share:.0%}" for op, share in operations.items())
                )
            if options.output:
                options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

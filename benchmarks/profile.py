"""Where does the time of an update go, and what does each choice of kernels gain?

On the CPU at the reference size: the operations that take most of it, with plain torch and with
the kernels that training chooses, and updates with one choice added after the other, in turns.

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
from qc_core.networks.kernels import CPU_FLOAT32, PLAIN, Arithmetic, choose

_CPU = torch.device("cpu")
_CASES = (Case("qc", REFERENCE), Case("qc-fql", REFERENCE), Case("qc-fql", SMALL))
_ROWS = 8
_PROFILED = 3


def choices() -> list[Arithmetic]:
    """Plain torch, and what training chooses here, one step after the other."""
    quick = replace(
        PLAIN, name="quick GELU", gelu=CPU_FLOAT32.gelu, dense_gelu=CPU_FLOAT32.dense_gelu
    )
    parts = replace(quick, name="candidates in parts", rows=CPU_FLOAT32.rows)
    fast = choose(_CPU, "auto")
    return [PLAIN, quick, parts, *([fast] if fast.hidden is not None else [])]


def shares(runner: Runner, arithmetic: Arithmetic) -> dict[str, float]:
    """Of an update's time on the CPU, what the greediest operations take themselves."""
    runner.rate(arithmetic, 0, recorded=False)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(_PROFILED):
            runner.update()
    averages = profiler.key_averages()
    total = sum(entry.self_cpu_time_total for entry in averages)
    greedy = sorted(averages, key=lambda entry: -entry.self_cpu_time_total)[:_ROWS]
    return {entry.key: round(entry.self_cpu_time_total / total, 3) for entry in greedy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="of each choice")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
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
                "widths": list(case.widths),
                "milliseconds-per-update": {
                    kind.name: round(1e3 / rate, 1) for kind, rate in zip(kinds, rates, strict=True)
                },
                "shares": {kind.name: shares(runner, kind) for kind in (kinds[0], kinds[-1])},
            }
            rows.append(row)
            print(f"\n{case.method}, {len(case.widths)}x{case.widths[0]}")
            for name, milliseconds in row["milliseconds-per-update"].items():
                print(f"  {milliseconds:9.1f} ms  {name}")
            for name, of in row["shares"].items():
                print(f"  {name}: " + ", ".join(f"{op} {share:.0%}" for op, share in of.items()))
            if options.output:
                options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

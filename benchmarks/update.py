"""Measures updates per second, and how close they are to the limit of matrix products.

Measures offline training with sampling and noise, on random transitions at the reference size
(observation 40, action 5, H 5, batch 256, four layers of 512), for each method: with plain eager
float32 torch, and with the kernels that training chooses. The two take turns in one process, and
the best turn of each counts. torch counts the operations of a plain update. Prints a table and
writes JSON.

    .venv/bin/python -m benchmarks.update -o benchmarks/results/update.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.hardware import hardware
from benchmarks.products import product_rate, synchronize
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config, train_config
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, Episodes, open_dataset
from qc_core.networks.kernels import PLAIN, Kernels, choose
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.offline import OfflineTraining
from qc_core.training.updates import repeat

_OBSERVATION, _ACTION, _BATCH = 40, 5, 256
_EPISODES, _STEPS = 100, 1000
REFERENCE, SMALL = (512,) * 4, (256,) * 3


@dataclass(frozen=True)
class Case:
    """A method and its size."""

    method: str
    hidden_dims: tuple[int, ...] = REFERENCE

    @property
    def config(self) -> Config:
        train = train_config(
            self.method,
            hidden_dims=self.hidden_dims,
            batch_size=_BATCH,
            # Record no point of the learning curve during the measurement.
            log_every=10**9,
            offline_steps=10**9,
            **METHODS[self.method].defaults,
        )
        return replace(Config(), train=train)


_CASES = (
    Case("qc"),
    Case("qc-fql"),
    Case("qc-fql", SMALL),
    *(Case(method) for method in METHODS if method not in ("qc", "qc-fql")),
)


def random_dataset(folder: Path) -> Dataset:
    """Return a dataset of random numbers at the reference size."""
    rng = np.random.default_rng(0)
    spec = EnvironmentSpec(
        id="random-v0",
        observation_names=tuple(f"observation_{i}" for i in range(_OBSERVATION)),
        action_names=tuple(f"action_{i}" for i in range(_ACTION)),
        action_low=(-1.0,) * _ACTION,
        action_high=(1.0,) * _ACTION,
        episode_limit=_STEPS,
        control_interval=0.05,
    )
    writer = DatasetWriter(folder, spec)
    total = _EPISODES * _STEPS
    writer.append(
        Episodes(
            observations=rng.standard_normal((total + _EPISODES, _OBSERVATION), dtype=np.float32),
            actions=rng.uniform(-1, 1, (total, _ACTION)).astype(np.float32),
            rewards=rng.standard_normal(total, dtype=np.float32),
            masks=np.ones(total, np.float32),
            terminals=(np.arange(total) % _STEPS == _STEPS - 1).astype(np.float32),
        )
    )
    writer.finish(DataSource(kind="benchmark"))
    return open_dataset(folder)


class Runner:
    """Times the updates of one case with different kernels."""

    def __init__(self, case: Case, dataset: Dataset, device: torch.device) -> None:
        # Methods without an offline phase do the same updates here.
        self._training = OfflineTraining(case.config, dataset, device)
        self._device = device

    def operations(self) -> int:
        """Return the floating-point operations of the matrix products in one update."""
        self._training.agent.kernels = PLAIN
        with FlopCounterMode(display=False) as counter:
            self.update()
        return counter.get_total_flops()

    def rate(self, kernels: Kernels, seconds: float, *, recorded: bool) -> float:
        """Return updates per second, measured for `seconds` and at least two updates."""
        self._training.agent.kernels = kernels
        updates = repeat(self._training.draw, self._training.learn, self._training.generator)
        block = updates.stride if recorded else 1
        work = updates.run if recorded else self._call
        # CUDA graphs are recorded before the clock starts.
        work(block + 4 if recorded else 1)
        synchronize(self._device)
        done, start = 0, time.perf_counter()
        while done < 2 or time.perf_counter() - start < seconds:
            work(block)
            done += block
            synchronize(self._device)
        return done / (time.perf_counter() - start)

    def update(self) -> None:
        """Do one update with the kernels of the last turn."""
        self._training.learn(self._training.draw())

    def _call(self, count: int) -> None:
        for _ in range(count):
            self.update()


def measure(
    case: Case, dataset: Dataset, device: torch.device, turns: int, seconds: float
) -> dict[str, Any]:
    """Return one row of the table."""
    runner = Runner(case, dataset, device)
    kinds = {"plain": PLAIN, "float32": choose(device, "float32")}
    if (fast := choose(device, "auto")).hidden_dtype is not None:
        kinds["bfloat16"] = fast
    rates = dict.fromkeys(kinds, 0.0)
    for _ in range(turns):
        for name, kernels in kinds.items():
            rate = runner.rate(kernels, seconds, recorded=name != "plain")
            rates[name] = max(rates[name], rate)
    operations = runner.operations()
    return {
        "method": case.method,
        "hidden-dims": list(case.hidden_dims),
        "giga-operations-per-update": round(operations / 1e9, 2),
        "updates-per-second": {name: round(rate, 3) for name, rate in rates.items()},
        "giga-flops": {name: round(rate * operations / 1e9, 1) for name, rate in rates.items()},
        "times-plain": {name: round(rate / rates["plain"], 2) for name, rate in rates.items()},
    }


def ceilings(device: torch.device) -> dict[str, float]:
    """Return the highest GFLOP/s of matrix products by type, for rows of a batch or all samples."""
    types = {"float32": torch.float32}
    if choose(device, "auto").hidden_dtype is not None:
        types["bfloat16"] = torch.bfloat16
    return {
        name: round(max(product_rate(rows, 512, dtype, device) for rows in (256, 8192)) / 1e9, 1)
        for name, dtype in types.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="measure this device only")
    parser.add_argument("--turns", type=int, default=3, help="turns of each kind")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each turn")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    names = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    devices = [torch.device(name) for name in ([options.device] if options.device else names)]
    rows: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.update --turns {options.turns} "
        f"--seconds {options.seconds:g}"
        + (f" --device {options.device}" if options.device else ""),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "ceilings-giga-flops": {device.type: ceilings(device) for device in devices},
        "rows": rows,
        "not-measured": not_measured(devices),
    }
    print(f"ceilings, GFLOP/s: {content['ceilings-giga-flops']}")
    print(
        f"{'method':9} {'layers':8} {'device':5} {'kernels':9} updates/s  times plain  of ceiling"
    )
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder:
        dataset = random_dataset(Path(folder) / "dataset")
        for device in devices:
            ceiling = content["ceilings-giga-flops"][device.type]
            for case in _CASES:
                row = measure(case, dataset, device, options.turns, options.seconds)
                flops = row["giga-flops"]
                row["device"] = device.type
                row["of-ceiling"] = {
                    name: round(rate / ceiling.get(name, ceiling["float32"]), 3)
                    for name, rate in flops.items()
                }
                rows.append(row)
                for name in flops:
                    print(
                        f"{case.method:9} {len(case.hidden_dims)}x{case.hidden_dims[0]:<6} "
                        f"{device.type:6} {name:9} {row['updates-per-second'][name]:9.2f} "
                        f"{row['times-plain'][name]:11.2f}x {row['of-ceiling'][name]:11.0%}",
                        flush=True,
                    )
                if options.output:
                    options.output.write_text(json.dumps(content, indent=2) + "\n")
    for line in content["not-measured"]:
        print(f"not measured: {line}")


def not_measured(devices: list[torch.device]) -> list[str]:
    """Return what this machine cannot measure."""
    missing = []
    if not torch.cuda.is_available():
        missing.append("CUDA (this machine has no GPU)")
    if devices[0].type == "cpu" and choose(devices[0], "auto").hidden_dtype is None:
        missing.append("bfloat16 on the CPU (this processor has no AVX512-BF16)")
    return missing


if __name__ == "__main__":
    main()

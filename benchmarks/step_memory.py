"""Measures the memory and CPU time of every step of a recipe, each in its container.

Compiles the recipe and runs it with podman as `tests/images` does, without memory limits. Memory is
what the kernel cannot reclaim, anonymous and shared memory of all processes of the container: a pod
is killed when it exceeds the limit. It is read from the container's control group every 0.1 s. A
mapped dataset is not part of it: the kernel can reclaim its pages, and reads them again.
`--confirm` runs the recipe twice more: with limits a little above the peaks, then with a limit for
fine-tuning below its peak, where processes are killed. `--here` mounts the packages of this working
tree over those of the image. Needs root, podman with control groups of version 1, and the images of
`make images`. Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.step_memory smoke --here --confirm
    .venv/bin/python -m benchmarks.step_memory cube-single-quickstart cube-double --here
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import hardware
from benchmarks.ingest import make_arrays
from components.image import TRAIN_IMAGE
from tests.images.containers import podman
from tests.images.local_cluster import Network, local_cluster, store_network

_OUTPUT = Path("benchmarks/results/step-memory.json")
_DATA = "/data"
_ROWS = 1_001_000
_MIB = 2**20
_INTERVAL_SECONDS = 0.1
_GROUPS = Path("/sys/fs/cgroup")
_CONFIRMED = "tune-0"
_INSTALLED = "/opt/venv/lib/python3.11/site-packages"
_PACKAGES = "qc_core", "components"

# Fewer updates and episodes need the same memory: data, networks, batch and processes are those of
# the recipe. Rows that fine-tuning would add to the replay buffer are missing. cube-double has
# qc-fql instead of qc, whose 32 samples take minutes for an update on two cores.
_FEW_EPISODES = (
    "--tune.evaluations 1 --tune.episodes 2 --evaluate.episodes 4 "
    "--publish.gate-episodes 4 --publish.minimum-success 0"
)
_OVERRIDES = {
    "smoke": "",
    "cube-single-quickstart": (
        "--train.offline-steps 40 --train.online-steps 60 --train.learning-starts 30 "
        f"--train.log-every 10 {_FEW_EPISODES}"
    ),
    "cube-double": (
        f"--data {_DATA}/cube-double-play-v0.npz --train.method qc-fql --train.offline-steps 20 "
        "--train.online-steps 40 --train.learning-starts 20 --train.log-every 10 "
        f"{_FEW_EPISODES}"
    ),
}


@dataclass
class Meter:
    """Runs containers and measures them.

    Attributes:
        limits: memory in MiB by step; other steps have no limit.
        steps: the results, in the order of the runs.
    """

    limits: Mapping[str, int]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def start(self, name: str, command: list[str]) -> str:
        """Run podman until the container ends (AssertionError: it failed)."""
        command = [word for word in command if not word.startswith("--memory=")]
        if name in self.limits:
            command.insert(1, f"--memory={self.limits[name]}m")
        with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder:
            identity, log = Path(folder) / "container", Path(folder) / "log"
            command.insert(1, f"--cidfile={identity}")
            start = time.monotonic()
            with log.open("wb") as output:
                # podman leaves a file `oom` in its folder if a container is killed for memory.
                process = subprocess.Popen(
                    ["podman", *command], stdout=output, stderr=subprocess.STDOUT, cwd=folder
                )
            usage = _watch(process, identity)
            text = log.read_text(errors="replace")
        seconds = round(time.monotonic() - start, 1)
        self.steps.append(
            {"step": name, "exit-code": process.returncode, "wall-seconds": seconds, **usage}
        )
        print(json.dumps(self.steps[-1]), flush=True)
        assert process.returncode == 0, text
        return text.strip()


def _watch(process: subprocess.Popen[bytes], identity: Path) -> dict[str, Any]:
    """Read the control group of a container until it ends; return its peaks and CPU seconds."""
    memory = cpu = kills = 0
    while process.poll() is None:
        time.sleep(_INTERVAL_SECONDS)
        group = f"libpod_parent/libpod-{identity.read_text()}" if identity.exists() else ""
        try:
            stat = _read_pairs(_GROUPS / "memory" / group / "memory.stat") if group else {}
            out_of_memory = _read_pairs(_GROUPS / "memory" / group / "memory.oom_control")
            nanoseconds = int((_GROUPS / "cpuacct" / group / "cpuacct.usage").read_text())
        except OSError:
            # The container is not yet or no longer there.
            continue
        if stat:
            memory = max(memory, stat["total_rss"] + stat["total_shmem"])
            cpu, kills = nanoseconds, out_of_memory["oom_kill"]
    return {
        "peak-mib": round(memory / _MIB),
        "cpu-seconds": round(cpu / 1e9, 1),
        "out-of-memory-kills": kills,
    }


def _read_pairs(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {name: int(value) for name, value in pairs}


def run_recipe(
    recipe: str, network: Network, volumes: Mapping[Path, str], limits: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Run a recipe once; return a row for each container, also if one was killed."""
    meter = Meter(limits)
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder:
        run_id = f"{recipe}-{time.time_ns()}"
        cluster = local_cluster(Path(folder), network, run_id, recipe)
        cluster.volumes |= volumes
        cluster.start = meter.start
        overrides = shlex.split(_OVERRIDES[recipe])
        try:
            cluster.run({"recipe_overrides": shlex.join(overrides)} if overrides else {})
        except AssertionError:
            if not any(row["out-of-memory-kills"] for row in meter.steps):
                raise
    return meter.steps


def confirm(
    recipe: str,
    network: Network,
    volumes: Mapping[Path, str],
    measured: list[dict[str, Any]],
) -> dict[str, Any]:
    """Run the recipe with limits above and below the peaks; return both results."""
    above = {row["step"]: round(1.1 * row["peak-mib"]) + 16 for row in measured}
    # Now there is a champion to compare with, which takes more.
    del above["promote"]
    peaks = {row["step"]: row["peak-mib"] for row in measured}
    below = {_CONFIRMED: round(0.8 * peaks[_CONFIRMED])}
    return {
        name: [
            {"limit-mib": limits.get(row["step"]), **row}
            for row in run_recipe(recipe, network, volumes, limits)
        ]
        for name, limits in (("above", above), ("below", below))
    }


def _print(recipe: str, rows: list[dict[str, Any]]) -> None:
    print(f"{recipe:24} {'peak':>9} {'CPU':>9} {'wall':>9}")
    for row in rows:
        print(
            f"{row['step']:24} {row['peak-mib']:5} MiB {row['cpu-seconds']:7.1f} s "
            f"{row['wall-seconds']:7.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", choices=[*_OVERRIDES])
    parser.add_argument("--confirm", action="store_true", help="also run with memory limits")
    parser.add_argument("--here", action="store_true", help="run the code of this working tree")
    parser.add_argument("-o", "--output", type=Path, default=_OUTPUT)
    options = parser.parse_args()
    content = json.loads(options.output.read_text()) if options.output.exists() else {}
    for recipe in options.recipes:
        with (
            tempfile.TemporaryDirectory(prefix="qc-benchmark-") as folder,
            store_network() as network,
        ):
            data = Path(folder)
            data.chmod(0o755)
            if _DATA in _OVERRIDES[recipe]:
                np.savez(data / "cube-double-play-v0.npz", **make_arrays(_ROWS))
            volumes = {data: _DATA}
            if options.here:
                volumes |= {Path(name).resolve(): f"{_INSTALLED}/{name}" for name in _PACKAGES}
            load = os.getloadavg()[0]
            rows = run_recipe(recipe, network, volumes, {})
            _print(recipe, rows)
            result: dict[str, Any] = {
                "command": f"python -m benchmarks.step_memory {recipe}"
                + (" --here" if options.here else "")
                + (" --confirm" if options.confirm else ""),
                "options": _OVERRIDES[recipe],
                "hardware": hardware(),
                "image": json.loads(podman("inspect", "--format={{json .Labels}}", TRAIN_IMAGE)),
                "load-before": round(load, 1),
                "cuda": "not measured here: the image has the CPU build of torch",
                "steps": rows,
            }
            if options.confirm:
                result["with-limits"] = confirm(recipe, network, volumes, rows)
        content[recipe] = result
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Measures what the metrics of a training cost: updates with and without them.

python -m benchmarks.tracking [--recipe NAME] [--updates N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from qc_core.config.resolve import resolve
from qc_core.data.dataset.dataset import DatasetWriter, Episodes, open_dataset
from qc_core.envs.make import describe
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.tracking.event_files import EventFiles
from qc_core.tracking.metrics import Metrics
from qc_core.training.device import training_device
from qc_core.training.offline import OfflineTraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="cube-single-quickstart")
    parser.add_argument("--updates", type=int, default=256, help="updates that are measured (256)")
    options = parser.parse_args()
    config = resolve(options.recipe)
    config = replace(config, train=replace(config.train, offline_steps=10**6))
    with tempfile.TemporaryDirectory() as folder:
        _write_random_episode(Path(folder) / "data", describe(config.environment))
        dataset = open_dataset(Path(folder) / "data")
        with OfflineTraining(config, dataset, training_device()) as training:
            training.run(training.stride, lambda *_: None)
            start = time.perf_counter()
            training.run(training.step + options.updates, lambda *_: None)
            update = (time.perf_counter() - start) / options.updates
            metrics = Metrics([EventFiles(Path(folder) / "metrics")])
            metrics.start(training, training.curve)
            # The first point, which is the first for every writer.
            metrics.follow()
            start = time.perf_counter()
            for _ in range(1000):
                metrics.follow()
            look = (time.perf_counter() - start) / 1000
            point = min(_time_of_point(metrics) for _ in range(20))
    each = training.stride
    share = look / (each * update) + point / 5.0
    print(
        f"update {update * 1e3:.2f} ms; look between points {look * 1e6:.1f} µs every {each} "
        "updates"
    )
    print(f"point {point * 1e3:.2f} ms every 5 s; together {share:.3%} of the time")


def _write_random_episode(folder: Path, spec: EnvironmentSpec) -> None:
    """Write a dataset of random numbers: what an update costs does not depend on them."""
    rng, steps = np.random.default_rng(0), 2000
    ends = np.zeros(steps, np.float32)
    ends[-1] = 1
    writer = DatasetWriter(folder, spec)
    writer.append(
        Episodes(
            observations=rng.normal(size=(steps + 1, spec.observation_size)).astype("f4"),
            actions=rng.uniform(-1, 1, (steps, spec.action_size)).astype("f4"),
            rewards=np.full(steps, -1, np.float32),
            masks=1 - ends,
            terminals=ends,
        )
    )
    writer.finish(DataSource(kind="random"))


def _time_of_point(metrics: Metrics) -> float:
    metrics._next = 0.0
    start = time.perf_counter()
    metrics.follow()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

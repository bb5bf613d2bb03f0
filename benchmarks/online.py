"""Measures online training: environment, updates and both together, and trials side by side.

The task is cube-single with random data, for a small network and for the paper's. Measured are
steps per second of the environments alone, updates per second alone, and both together with one
update per step. The baseline is a sequential loop in one process in plain float32. Then the
updates of complete trials are measured, one at a time and several on one device. Measurements
take turns; each number is the median of its rounds. Prints tables and writes JSON.

    .venv/bin/python -m benchmarks.online -o benchmarks/results/online.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.hardware import hardware
from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.resolve import resolve
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, Episodes, open_dataset
from qc_core.data.replay.replay import OfflineData, Replay
from qc_core.data.replay.windows import sample_windows
from qc_core.envs.make import describe, make_environment
from qc_core.envs.remote import RemoteEnvironment
from qc_core.policy_format.data_source import DataSource
from qc_core.runtime.executor import ChunkExecutor
from qc_core.training.device import training_device
from qc_core.training.online import OnlineTraining
from qc_core.training.policy import AgentPolicy
from qc_core.training.pool import training_pool

_NETWORKS = {"3 x 256": (256,) * 3, "4 x 512": (512,) * 4}
_ENVIRONMENTS = (1, 2)
_TRIALS = (1, 4)
_DATA_ROWS, _EPISODE_ROWS = 20_000, 200
_WARM_UP = 20


def make_config(hidden_dims: tuple[int, ...], environments: int) -> Config:
    config = resolve("cube-single", ["--train.method", "qc-fql"])
    train = replace(
        config.train,
        hidden_dims=hidden_dims,
        num_envs=environments,
        learning_starts=0,
        replay_capacity=_DATA_ROWS + 100_000,
    )
    return replace(config, train=train)


def write_data(folder: Path, environment: str) -> None:
    """Write random transitions: their content does not affect the speed of training."""
    spec, rng = describe(environment), np.random.default_rng(0)
    terminals = (np.arange(_DATA_ROWS) + 1) % _EPISODE_ROWS == 0
    rows = _DATA_ROWS + int(terminals.sum())
    writer = DatasetWriter(folder, spec)
    writer.append(
        Episodes(
            observations=rng.normal(size=(rows, spec.observation_size)).astype(np.float32),
            actions=rng.uniform(-1, 1, (_DATA_ROWS, spec.action_size)).astype(np.float32),
            rewards=np.full(_DATA_ROWS, -1, np.float32),
            masks=np.ones(_DATA_ROWS, np.float32),
            terminals=terminals.astype(np.float32),
        )
    )
    writer.finish(DataSource(kind="benchmark"))


# Does at least the given number of steps or updates; returns the number that it did.
Work = Callable[[int], int]


def rate(work: Work, count: int) -> float:
    """Return the rate per second, including the work that the device finishes later."""
    start = time.monotonic()
    done = work(count)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return done / (time.monotonic() - start)


@contextlib.contextmanager
def environments_alone(environment: str, processes: int) -> Iterator[Work]:
    """Yield a function that only steps environments, in complete episodes."""
    limit, rng = describe(environment).episode_limit, np.random.default_rng(0)
    with contextlib.ExitStack() as opened:
        remotes = [
            opened.enter_context(contextlib.closing(RemoteEnvironment(environment)))
            for _ in range(processes)
        ]

        def play(steps: int) -> int:
            done = 0
            while done < steps:
                for seed, remote in enumerate(remotes):
                    remote.reset(done + seed)
                    remote.play(rng.uniform(-1, 1, (limit, 5)).astype(np.float32))
                for remote in remotes:
                    remote.receive()
                    done += 1
                    while not remote.receive().ended:
                        done += 1
            return done

        play(1)
        yield play


class Sequential:
    """The baseline: steps, stores transitions and updates in turn, in this process."""

    def __init__(self, config: Config, data: Path, device: torch.device) -> None:
        offline = OfflineData(open_dataset(data), device, config.data)
        train = config.train
        self._config, self._agent = config, make_agent_on(config, device)
        self._replay = Replay(
            train.replay_capacity,
            self._agent.observation_size,
            offline.action_bounds,
            device,
            config,
            offline,
        )
        self._generator = torch.Generator(device).manual_seed(0)
        self._environment = make_environment(config.environment)
        self._observation: np.ndarray | None = None
        self._seed = 0

    def run(self, steps: int) -> int:
        for _ in range(steps):
            if self._observation is None:
                self._seed += 1
                self._observation, _ = self._environment.reset(seed=self._seed)
                self._executor = ChunkExecutor(
                    AgentPolicy(self._agent), np.random.default_rng(self._seed)
                )
            action = self._executor.act(self._observation)
            after, reward, terminated, truncated, _ = self._environment.step(action)
            ended = terminated or truncated
            self._replay.add(self._observation, action, float(reward), after, terminated, ended)
            self._observation = None if ended else after
            windows = sample_windows(self._replay, self._config, self._generator)
            noise = self._agent.draw_noise(self._config.train.batch_size, self._generator)
            self._agent.update(windows, noise)
        return steps

    def close(self) -> None:
        self._environment.close()


def make_agent_on(config: Config, device: torch.device) -> Agent:
    spec = describe(config.environment)
    torch.manual_seed(0)
    return make_agent(spec.observation_size, spec.action_size, config.train, device)


@contextlib.contextmanager
def training(config: Config, data: Path) -> Iterator[OnlineTraining]:
    device = training_device()
    dataset, agent = open_dataset(data), make_agent_on(config, device)
    with OnlineTraining(config, agent, dataset, device, trial=0) as made:
        made.run(_WARM_UP, lambda *_: None)
        yield made


def measure_overlap(network: str, data: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Measure environments, updates, both together and the baseline for each number of envs."""
    configs = {count: make_config(_NETWORKS[network], count) for count in _ENVIRONMENTS}
    with contextlib.ExitStack() as opened:
        device, environment = training_device(), configs[1].environment
        sequential = opened.enter_context(contextlib.closing(Sequential(configs[1], data, device)))
        trainings = {
            count: opened.enter_context(training(config, data)) for count, config in configs.items()
        }
        players = {
            count: opened.enter_context(environments_alone(environment, count)) for count in configs
        }

        def together(made: OnlineTraining) -> Work:
            def run(steps: int) -> int:
                made.run(made.step + steps, lambda *_: None)
                return steps

            return run

        def update(updates: int) -> int:
            trainings[1].learn(updates)
            return updates

        work: dict[str, Work] = {
            "sequential": sequential.run,
            "updates": update,
            **{f"environments, {count}": play for count, play in players.items()},
            **{f"together, {count}": together(made) for count, made in trainings.items()},
        }
        rates = take_turns(work, seconds, rounds)
    rows = []
    for count in _ENVIRONMENTS:
        together_rate, environments = rates[f"together, {count}"], rates[f"environments, {count}"]
        # The rate that one process reaches, times the number of processes.
        possible = min(rates["updates"], count * rates["environments, 1"])
        rows.append(
            {
                "network": network,
                "environments": count,
                "environment-steps-per-second-1-process": rates["environments, 1"],
                "environment-steps-per-second": environments,
                "updates-per-second": rates["updates"],
                "together-steps-per-second": together_rate,
                "ratio-to-slower-half": round(together_rate / possible, 3),
                "sequential-steps-per-second": rates["sequential"],
            }
        )
    return rows


def take_turns(work: dict[str, Work], seconds: float, rounds: int) -> dict[str, float]:
    """Return the median rate of each function over its rounds of about `seconds` each."""
    counts = {}
    for name, act in work.items():
        # The first call also initialises.
        act(_WARM_UP)
        counts[name] = max(1, round(seconds * rate(act, _WARM_UP)))
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, act in work.items():
            found[name].append(rate(act, counts[name]))
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


def measure_trials(network: str, data: Path, seconds: float, rounds: int) -> dict[int, float]:
    """Return the median updates per second of trials together, by number of trials."""
    found: dict[int, list[float]] = {trials: [] for trials in _TRIALS}
    for _, trials in itertools.product(range(rounds), _TRIALS):
        found[trials].append(side_by_side_rate(network, data, seconds, trials))
    return {trials: round(statistics.median(rates), 1) for trials, rates in found.items()}


def side_by_side_rate(network: str, data: Path, seconds: float, trials: int) -> float:
    """Return the updates per second of trials together, while all of them are running."""
    with training_pool(trials, fewer="--tune.trials-per-gpu") as pool:
        futures = [pool.submit(trial_steps, network, data, seconds) for _ in range(trials)]
        times = [future.result() for future in futures]
    begin, end = max(steps[0] for steps in times), min(steps[-1] for steps in times)
    if end <= begin:
        raise SystemExit("the trials did not run at the same time: increase --trial-seconds")
    done = sum(begin < step <= end for steps in times for step in steps)
    return done / (end - begin)


def trial_steps(network: str, data: Path, seconds: float) -> Sequence[float]:
    """Return the time at which each step of a trial and its update ended."""
    times: list[float] = []
    with training(make_config(_NETWORKS[network], 1), data) as made:
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            made.run(made.step + 1, lambda *_: times.append(time.monotonic()))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(_NETWORKS), choices=_NETWORKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="seconds of each measurement")
    parser.add_argument("--trial-seconds", type=float, default=30, help="seconds of each trial")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    gpu = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else "not measured: this machine has no GPU"
    )
    rows: list[dict[str, Any]] = []
    side_by_side: list[dict[str, Any]] = []
    content = {
        "command": f"python -m benchmarks.online --networks {' '.join(map(repr, options.networks))}"
        f" --rounds {options.rounds} --seconds {options.seconds:g}"
        f" --trial-seconds {options.trial_seconds:g}",
        "hardware": hardware(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "together": rows,
        "trials-side-by-side": side_by_side,
    }

    def save() -> None:
        if options.output:
            options.output.write_text(json.dumps(content, indent=2) + "\n")

    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as scratch:
        data = Path(scratch) / "data"
        write_data(data, make_config((1,), 1).environment)
        print(
            f"{'network':8} {'E':>2} {'1 process':>10} {'E':>7} {'updates':>8} {'together':>9} "
            f"{'ratio':>6} {'sequential':>11}  load before"
        )
        for network in options.networks:
            load = os.getloadavg()[0]
            for row in measure_overlap(network, data, options.seconds, options.rounds):
                rows.append({**row, "load-before": round(load, 1)})
                print(
                    f"{network:8} {row['environments']:2} "
                    f"{row['environment-steps-per-second-1-process']:8.0f}/s "
                    f"{row['environment-steps-per-second']:5.0f}/s "
                    f"{row['updates-per-second']:6.1f}/s "
                    f"{row['together-steps-per-second']:7.1f}/s {row['ratio-to-slower-half']:6.0%} "
                    f"{row['sequential-steps-per-second']:9.1f}/s  {load:.1f}",
                    flush=True,
                )
                save()
        print(f"\n{'network':8} {'trials':>6} {'updates':>9}  load before")
        for network in options.networks:
            load = os.getloadavg()[0]
            found = measure_trials(network, data, options.trial_seconds, options.rounds)
            for trials, updates in found.items():
                side_by_side.append(
                    {
                        "network": network,
                        "trials": trials,
                        "updates-per-second": updates,
                        "ratio-to-one-trial": round(updates / found[1], 3),
                        "load-before": round(load, 1),
                    }
                )
                print(f"{network:8} {trials:6} {updates:7.1f}/s  {load:.1f}", flush=True)
                save()
    print(f"\nGPU: {gpu}")


if __name__ == "__main__":
    main()

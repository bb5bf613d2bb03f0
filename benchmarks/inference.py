"""Measures how long an exported policy takes to return a chunk.

Exports a best-of-N policy (qc) and a one-step policy (qc-fql) with random weights, and measures one
chunk at a time through `ChunkPolicy.chunk`, plain onnxruntime, and plain float32 torch, in the same
process. The arithmetic floor is the time of the matrix products alone, at torch's highest rate.
Prints a table and writes JSON.

    .venv/bin/python -m benchmarks.inference -o benchmarks/results/inference.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.hardware import hardware
from benchmarks.products import product_rate
from qc_core.agents.agent import Agent
from qc_core.agents.best_of_n import BestOfNAgent
from qc_core.agents.make import make_agent
from qc_core.cli.output import print_table
from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import RunError, UsageError
from qc_core.export.export import export
from qc_core.log import log
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.runtime import ChunkPolicy
from qc_core.training.checkpoint import Checkpoint
from qc_core.training.saved_agent import save_checkpoint

_OBSERVATIONS, _ACTIONS = 40, 5
_METHODS = ("qc", "qc-fql")
_CEILING_ROWS = 1024
_COMPARED = 100
# Calls of the rows alternate in rounds.
_ROUNDS, _WARM_UP = 20, 5
_NO_CUDA = "not measured: this onnxruntime has no CUDA execution provider"


def random_agent(method: str) -> Agent:
    """Return an agent of the paper's size with initial weights and random biases."""
    torch.manual_seed(0)
    agent = make_agent(_OBSERVATIONS, _ACTIONS, TrainConfig(method=method)).eval()
    for name, parameter in agent.named_parameters():
        if "biases" in name:
            nn.init.normal_(parameter, std=0.1)
    return agent.requires_grad_(False)


def exported(agent: Agent, folder: Path) -> Path:
    """Export the agent and return its policy folder."""
    spec = EnvironmentSpec(
        id="benchmark",
        observation_names=tuple(f"observation-{i}" for i in range(_OBSERVATIONS)),
        action_names=tuple(f"action-{i}" for i in range(_ACTIONS)),
        action_low=(-1.0,) * _ACTIONS,
        action_high=(1.0,) * _ACTIONS,
        episode_limit=200,
        control_interval=0.05,
    )
    info = Checkpoint(
        config=Config(recipe="benchmark", environment=spec.id, train=agent.config),
        spec=spec,
        dataset_digest="none",
        offline_steps=0,
        online_steps=0,
    )
    save_checkpoint(folder / "checkpoint", agent, info, [])
    export(folder / "checkpoint", folder / "policy")
    return folder / "policy"


def plain_chunk(agent: Agent, observation_BO: Tensor, noise: Tensor) -> Tensor:
    """Compute a chunk without sharing: each step and critic gets the full input of each sample."""
    if not isinstance(agent, BestOfNAgent):
        return agent.chunk(observation_BO, noise)
    batch, samples, steps = len(noise), agent.settings.num_samples, agent.settings.flow_steps
    normal_BO = (observation_BO - agent.observation_mean) / agent.observation_std
    rows_RO = normal_BO.repeat_interleave(samples, dim=0)
    chunk_RL = noise.flatten(0, 1)
    for step in range(steps):
        time_R1 = torch.full((len(rows_RO), 1), step / steps)
        chunk_RL = chunk_RL + agent.flow(rows_RO, chunk_RL, time_R1) / steps
    chunk_RL = chunk_RL.clamp(-1, 1)
    value_KR = agent.critic(torch.cat([rows_RO, chunk_RL], dim=-1)).squeeze(-1)
    best_B = value_KR.mean(dim=0).reshape(batch, samples).argmax(dim=1)
    chunk_BNL = chunk_RL.reshape(batch, samples, -1)
    return agent.in_environment_units(chunk_BNL[torch.arange(batch), best_B])


def operations(agent: Agent) -> int:
    """Return the FLOPs of the matrix products for one observation; shared ones count once."""
    config, settings, chunk = agent.config, agent.settings, agent.chunk_size

    def products(inputs: int, outputs: int) -> int:
        sizes = (inputs, *config.hidden_dims, outputs)
        return 2 * sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes))

    if not isinstance(agent, BestOfNAgent):
        return products(_OBSERVATIONS + chunk, chunk)
    once = (1 + config.num_critics) * 2 * _OBSERVATIONS * config.hidden_dims[0]
    flow, critics = (
        settings.flow_steps * products(chunk, chunk),
        config.num_critics * products(chunk, 1),
    )
    return once + settings.num_samples * (flow + critics)


def bare_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """Return an onnxruntime session with default options, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def measure(method: str, calls: int, ceiling: float, scratch: Path) -> dict[str, Any]:
    """Measure all rows of one policy."""
    agent = random_agent(method)
    folder = exported(agent, scratch / method)
    rng = np.random.default_rng(0)
    observation_BO = rng.standard_normal((_COMPARED, _OBSERVATIONS), dtype=np.float32)
    noise = rng.standard_normal((_COMPARED, *agent.noise_shape), dtype=np.float32)
    one = observation_BO[:1], noise[:1]
    as_tensors = torch.from_numpy(one[0]), torch.from_numpy(one[1])
    feed = dict(zip(("observation", "noise"), one, strict=True))

    def ask_torch() -> None:
        with torch.inference_mode():
            plain_chunk(agent, *as_tensors)

    rows: dict[tuple[str, int], Callable[[], object]] = {
        ("plain torch, float32", torch.get_num_threads()): ask_torch
    }
    policies = {
        ("cpu", threads): ChunkPolicy.load(folder, threads=threads, provider="cpu")
        for threads in (1, 2)
    }
    with contextlib.suppress(UsageError, RunError):
        policies["cuda", 1] = ChunkPolicy.load(folder, threads=1, provider="cuda")
    for (provider, threads), policy in policies.items():
        rows[f"ChunkPolicy.chunk, {provider}", threads] = lambda policy=policy: policy.chunk(*one)
    for threads in (1, 2):
        session = bare_session(folder / "policy.onnx", threads)
        rows["session.run, cpu", threads] = lambda session=session: session.run(None, feed)
    load = os.getloadavg()[0]
    times = latencies(list(rows.values()), calls)
    with torch.inference_mode():
        expected = plain_chunk(agent, torch.from_numpy(observation_BO), torch.from_numpy(noise))
    differences = {
        provider: float(np.abs(policy.chunk(observation_BO, noise) - expected.numpy()).max())
        for (provider, _), policy in policies.items()
    }
    flops = operations(agent)
    return {
        "method": method,
        "load-before": round(load, 1),
        "calls": calls,
        "floor-ms": round(flops / ceiling * 1e3, 4),
        "mflop": round(flops / 1e6, 1),
        "largest-difference-from-torch": differences,
        "latencies": [
            {
                "what": name,
                "threads": threads,
                "p50-ms": round(float(np.percentile(seconds, 50)) * 1e3, 4),
                "p99-ms": round(float(np.percentile(seconds, 99)) * 1e3, 4),
            }
            for (name, threads), seconds in zip(rows, times, strict=True)
        ],
    }


def latencies(functions: Sequence[Callable[[], object]], calls: int) -> list[list[float]]:
    """Return the seconds of each call of each function."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(_ROUNDS):
        for function, seconds in zip(functions, times, strict=True):
            # Threads of the previous function stop spinning within this time.
            time.sleep(0.05)
            for _ in range(_WARM_UP):
                function()
            for _ in range(calls // _ROUNDS):
                start = time.perf_counter()
                function()
                seconds.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="calls per row; at least 100")
    parser.add_argument("--torch-threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.torch_threads)
    ceiling = product_rate(_CEILING_ROWS, 512, torch.float32, torch.device("cpu"))
    log.info(f"ceiling: {ceiling / 1e9:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory(prefix="qc-benchmark-") as scratch:
        policies = [measure(method, options.calls, ceiling, Path(scratch)) for method in _METHODS]
    cuda = any("cuda" in row["what"] for policy in policies for row in policy["latencies"])
    content = {
        "command": f"python -m benchmarks.inference --calls {options.calls} "
        f"--torch-threads {options.torch_threads}",
        "hardware": hardware(),
        "product-ceiling-gflops": round(ceiling / 1e9, 1),
        "cuda": "measured" if cuda else _NO_CUDA,
        "policies": policies,
    }
    print_table(("policy", "what", "threads", "p50", "p99"), table(policies, cuda))
    if options.output:
        options.output.write_text(json.dumps(content, indent=2) + "\n")


def table(policies: Sequence[dict[str, Any]], cuda: bool) -> list[tuple[str, ...]]:
    """Return the rows of the printed table."""
    rows: list[tuple[str, ...]] = []
    for policy in policies:
        method = policy["method"]
        rows += [
            (
                method,
                row["what"],
                str(row["threads"]),
                f"{row['p50-ms']:.3f} ms",
                f"{row['p99-ms']:.3f} ms",
            )
            for row in policy["latencies"]
        ]
        if not cuda:
            rows.append((method, "ChunkPolicy.chunk, cuda", "", _NO_CUDA, ""))
        rows.append((method, "arithmetic floor, cpu", "", f"{policy['floor-ms']:.3f} ms", ""))
    return rows


if __name__ == "__main__":
    main()

"""The product as the kit uses it: training, export and the command line.

Shapes: B batch, O observation, A action.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from qc_core.agents import agent as agents
from qc_core.agents import critic_agent, one_step
from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config import methods
from qc_core.config.settings import Config, train_config
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, Episodes, open_dataset
from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.windows import Windows, sample_windows
from qc_core.export.export import export
from qc_core.networks import fast_layers, kernels
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.runtime import ChunkPolicy
from qc_core.training import device as training_devices
from qc_core.training.checkpoint import Checkpoint
from qc_core.training.offline import OfflineTraining
from qc_core.training.saved_agent import save_checkpoint
from qc_core.training.updates import Updates, repeat

METHODS = (*methods.METHODS,)
OBSERVATION, ACTION, HORIZON = 40, 5, 5
_EPISODE_STEPS = 1000

# Compute precision and how updates are repeated.
EAGER, FLOAT32, BFLOAT16 = "eager float32", "float32", "bfloat16"
KINDS = (EAGER, FLOAT32, BFLOAT16)

Moved = TypeVar("Moved")


def config(method: str, hidden_dims: Sequence[int], batch: int) -> Config:
    """A run with the paper's values for this method, at the benchmark's size."""
    train = train_config(
        method,
        **methods.METHODS[method].defaults,
        hidden_dims=tuple(hidden_dims),
        batch_size=batch,
        # `use_kernels` chooses the precision, also where the device has no bfloat16.
        precision="float32",
        # No point of a learning curve is computed while updates are timed.
        log_every=10**9,
        offline_steps=10**9,
    )
    return replace(Config(), train=train)


def training_device() -> torch.device:
    """The device that training uses, set up for it."""
    return training_devices.training_device()


def num_samples(method: str) -> int:
    """Candidates N of a best-of-N method; 1 for the others."""
    return getattr(methods.METHODS[method].settings, "num_samples", 1)


def flow_steps(method: str) -> int:
    """Euler steps of the flow; 0 for a method without one."""
    return getattr(methods.METHODS[method].settings, "flow_steps", 0)


def num_critics(method: str) -> int:
    return int(methods.METHODS[method].defaults.get("num_critics", 2))


def is_one_step(method: str) -> bool:
    return isinstance(methods.METHODS[method].settings, methods.OneStepSettings)


def chunk_length(method: str) -> int:
    return HORIZON if methods.METHODS[method].chunked else 1


def random_dataset(folder: Path, transitions: int) -> Dataset:
    """A dataset of random numbers at the benchmark's size, written unless it exists."""
    if not folder.exists():
        # A process that is stopped meanwhile leaves no incomplete dataset.
        staging = folder.with_name(f"{folder.name}-{os.getpid()}")
        rng = np.random.default_rng(0)
        episodes = -(-transitions // _EPISODE_STEPS)
        total = episodes * _EPISODE_STEPS
        writer = DatasetWriter(staging, _spec())
        writer.append(
            Episodes(
                observations=rng.standard_normal((total + episodes, OBSERVATION), np.float32),
                actions=rng.uniform(-1, 1, (total, ACTION)).astype(np.float32),
                rewards=rng.standard_normal(total, np.float32),
                masks=np.ones(total, np.float32),
                terminals=(np.arange(total) % _EPISODE_STEPS == _EPISODE_STEPS - 1).astype(
                    np.float32
                ),
            )
        )
        writer.finish(DataSource(kind="benchmark"))
        staging.rename(folder)
    return open_dataset(folder)


def _spec() -> EnvironmentSpec:
    return EnvironmentSpec(
        id="benchmark-v0",
        observation_names=tuple(f"observation-{i}" for i in range(OBSERVATION)),
        action_names=tuple(f"action-{i}" for i in range(ACTION)),
        action_low=(-1.0,) * ACTION,
        action_high=(1.0,) * ACTION,
        episode_limit=_EPISODE_STEPS,
        control_interval=0.05,
    )


def new_agent(settings: Config, device: torch.device) -> Agent:
    """An agent with the same initial weights on every device."""
    torch.manual_seed(0)
    agent = make_agent(OBSERVATION, ACTION, settings.train, torch.device("cpu"))
    # Zero biases would hide errors in their handling.
    with torch.no_grad():
        for name, parameter in agent.named_parameters():
            if "biases" in name:
                parameter.normal_(std=0.1)
        for copy in agent.lagging_copies():
            copy.target.load_state_dict(copy.online.state_dict())
    agent = agent.to(device)
    agent.optimizers = agent.make_optimizers()
    return agent


def use_kernels(agent: Agent, device: torch.device, kind: str) -> None:
    """Compute an agent's updates as plain float32 torch does, or as training does."""
    if kind == EAGER:
        agent.kernels = kernels.PLAIN
    elif kind == BFLOAT16:
        # A CPU without bfloat16 rehearses with the kernels of a GPU.
        agent.kernels = kernels.CUDA_BFLOAT16
    else:
        agent.kernels = kernels.choose(device, kind)


def use_cuda_kernels(agent: Agent, kind: str) -> None:
    """The kernels that a GPU gets, also where there is none: to count operations."""
    agent.kernels = kernels.CUDA_BFLOAT16 if kind == BFLOAT16 else kernels.CUDA_FLOAT32


def use_one_stream(agent: Agent) -> None:
    """Keep the kernels, and run them one after the other."""
    agent.kernels = replace(agent.kernels, streams=False)


@contextlib.contextmanager
def as_on_a_gpu(fork: Callable[[Sequence[Callable[[], Any]]], list[Any]]) -> Iterator[None]:
    """Call the operations that a GPU gets, and let `fork` call what it runs at the same time."""

    def product_and_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = torch.ops.aten._addmm_activation(bias, x.flatten(0, -2), weight.T, use_gelu=True)
        return rows.unflatten(0, x.shape[:-1])

    def run(functions: Sequence[Any], _: torch.device, *, streams: bool) -> list[Any]:
        return fork(functions) if streams else [function() for function in functions]

    with (
        patch.object(agents, "side_by_side", run),
        patch.object(critic_agent, "side_by_side", run),
        patch.object(one_step, "side_by_side", run),
        patch.object(kernels, "side_by_side", run),
        patch.object(fast_layers, "product_and_gelu", product_and_gelu),
    ):
        yield


def gradients(agent: Agent) -> dict[str, Tensor]:
    """The gradients of the last update by parameter name, on the CPU."""
    return {
        name: parameter.grad.detach().float().cpu().clone()
        for name, parameter in agent.named_parameters()
        if parameter.grad is not None
    }


class Training:
    """Offline training whose updates are run in the way that `kind` says.

    A method without an offline phase takes the same updates here.
    """

    def __init__(self, settings: Config, dataset: Dataset, device: torch.device, kind: str) -> None:
        self._kind, self._device = kind, device
        self._training = OfflineTraining(settings, dataset, device)
        use_kernels(self.agent, device, kind)
        self._updates: Updates | None = None

    @property
    def agent(self) -> Agent:
        return self._training.agent

    def run(self, count: int) -> dict[str, Tensor]:
        """Run updates, in CUDA graphs where training does, and return the last one's figures."""
        if self._kind == EAGER:
            return self.run_eager(count)
        if self._updates is None:
            training = self._training
            self._updates = repeat(training.draw, training.learn, training.generator)
        return self._updates.run(count)

    def draw(self) -> Any:
        """Data and noise of one update."""
        return self._training.draw()

    def learn(self, batch: Any) -> dict[str, Tensor]:
        """One update with what `draw` returned."""
        return self._training.learn(batch)

    def run_eager(self, count: int) -> dict[str, Tensor]:
        """Run updates one call at a time."""
        info: dict[str, Tensor] = {}
        for _ in range(count):
            info = self.learn(self.draw())
        return info

    @property
    def stride(self) -> int:
        """Updates that one launch runs."""
        return 1 if self._updates is None else self._updates.stride

    def close(self) -> None:
        self._updates = None
        self._training.close()


class HostReplay:
    """Updates on the device whose windows are sampled on the host and copied there."""

    def __init__(self, settings: Config, dataset: Dataset, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._agent = new_agent(settings, device)
        use_kernels(self._agent, device, BFLOAT16)
        self._data = OfflineData(dataset, torch.device("cpu"), settings.data)
        self._host = torch.Generator().manual_seed(0)
        self._generator = torch.Generator(device).manual_seed(0)
        first = sample_windows(self._data, settings, self._host)
        # Recorded updates find each batch in the same place.
        self._windows = to_device(first, device)
        self._updates = repeat(self._draw_noise, self._learn, self._generator)

    def run(self, count: int) -> None:
        for _ in range(count):
            sampled = sample_windows(self._data, self._settings, self._host)
            for place, values in zip(self._windows, sampled, strict=True):
                if self._device.type == "cuda":
                    values = values.pin_memory()
                place.copy_(values, non_blocking=True)
            self._updates.run(1)

    def _draw_noise(self) -> Any:
        return self._agent.draw_noise(self._settings.train.batch_size, self._generator)

    def _learn(self, noise: Any) -> dict[str, Tensor]:
        return self._agent.update(self._windows, noise)


def random_batch(agent: Agent, settings: Config, seed: int) -> tuple[Windows, Any]:
    """Random windows and noise of one update, on the CPU; some windows end early."""
    generator = torch.Generator().manual_seed(seed)
    size = settings.train.batch_size * 4

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    class Rows:
        actions = normal(size, ACTION).clamp(-0.99, 0.99)
        rewards = normal(size)
        masks = (torch.rand(size, generator=generator) > 0.1).float()
        terminals = (torch.rand(size, generator=generator) < 0.1).float()
        observations = normal(size + 1, OBSERVATION)

        def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
            return (uniform_B * (size - backup_steps + 1)).long()

        def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
            return start_B[:, None] + torch.arange(backup_steps)

        def observations_at(self, index: Tensor) -> Tensor:
            return self.observations[index]

        def next_observations_at(self, index: Tensor) -> Tensor:
            return self.observations[index + 1]

    windows = sample_windows(Rows(), settings, generator)
    return windows, agent.draw_noise(settings.train.batch_size, generator)


def to_device(values: Moved, device: torch.device) -> Moved:
    """A copy on a device of windows or noise, whatever kind of record they are."""

    def moved(value: Any) -> Any:
        return value.to(device, copy=True) if isinstance(value, Tensor) else value

    if isinstance(values, tuple):
        return type(values)(*(moved(value) for value in values))
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        names = [entry.name for entry in dataclasses.fields(values)]
        return dataclasses.replace(  # pyright: ignore[reportReturnType]
            values, **{name: moved(getattr(values, name)) for name in names}
        )
    raise TypeError(f"cannot move {type(values).__name__} to a device")


# Exported policies


def export_random_policy(method: str, hidden_dims: Sequence[int], folder: Path) -> Path:
    """Export a policy with random weights; the folder must not exist."""
    settings = replace(config(method, hidden_dims, 256), recipe="benchmark")
    agent = new_agent(settings, torch.device("cpu"))
    info = Checkpoint(
        config=settings, spec=_spec(), dataset_digest="none", offline_steps=0, online_steps=0
    )
    save_checkpoint(folder / "checkpoint", agent, info, [])
    export(folder / "checkpoint", folder / "policy")
    return folder / "policy"


def policy_call(folder: Path, provider: str, threads: int, batch: int) -> Callable[[], np.ndarray]:
    """A call of an exported policy with a fixed random batch (an error if it cannot start)."""
    policy = ChunkPolicy.load(folder, provider=provider, threads=threads)
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((batch, policy.observation_size), np.float32)
    noise = rng.standard_normal((batch, *policy.noise_shape), np.float32)
    return lambda: policy.chunk(observations, noise)


# The command line


def qc(*words: str | Path | int) -> str:
    """Run a `qc` command and return its standard output (RuntimeError if it fails)."""
    command = [sys.executable, "-m", "qc_core.cli.main", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"qc {' '.join(map(str, words))} exited with {done.returncode}")
    return done.stdout


def qc_json(*words: str | Path | int) -> Any:
    """The JSON that a `qc` command prints."""
    return json.loads(qc(*words, "--json"))

"""Offline training: updates from a dataset, which can stop and resume."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qc_core.agents.agent import Agent, Info
from qc_core.agents.make import make_agent
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config, TrainConfig
from qc_core.data.dataset.dataset import Dataset
from qc_core.data.replay.replay import OfflineData
from qc_core.data.replay.shard_buffer import ShardBuffer
from qc_core.data.replay.shards import Shards, observation_statistics
from qc_core.data.replay.windows import Windows, sample_windows
from qc_core.errors import UsageError
from qc_core.networks.kernels import choose as choose_kernels
from qc_core.seeds import seeds_for
from qc_core.tracking.metrics import Activity
from qc_core.training.checkpoint import Curve
from qc_core.training.device import set_generator
from qc_core.training.divergence import FiniteCheck
from qc_core.training.updates import UPDATES_PER_GRAPH, Updates, repeat

_VALIDATION_BATCH = 1024


class OfflineTraining(contextlib.AbstractContextManager["OfflineTraining"]):
    """Trains an agent on a dataset.

    The same seed gives the same weights on the same CPU with the same number of threads.

    Args:
        agent: the agent to train; None creates one.

    Attributes:
        step: updates done.
        steps: updates in total; 0 for a method without an offline phase.
        stride: updates between two looks at evaluation and checkpoints.
        curve: losses and values every `log_every` updates.
        generator: draws data and noise.
    """

    stride = 2 * UPDATES_PER_GRAPH

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        agent: Agent | None = None,
    ) -> None:
        train, spec = config.train, dataset.spec
        if dataset.transitions < train.backup_steps:
            raise UsageError(
                f"{dataset.folder}: backups over {train.backup_steps} steps need at least as "
                f"many transitions, got {dataset.transitions}"
            )
        self._config = config
        self._seed = seeds_for("pretrain", config.seed, 1)[0]
        self.generator = torch.Generator(device).manual_seed(self._seed)
        self._closing = contextlib.ExitStack()
        load = partial(OfflineData, device=device, config=config.data)
        self._shards = self._closing.enter_context(Shards(dataset, config, load))
        if agent is None:
            torch.manual_seed(self._seed)
            agent = make_agent(spec.observation_size, spec.action_size, train, device)
            agent.set_action_bounds(spec.action_low, spec.action_high)
            if train.normalize_observations:
                mean_O, std_O = observation_statistics(dataset)
                agent.set_normalization(torch.from_numpy(mean_O), torch.from_numpy(std_O))
        self.agent = agent
        agent.kernels = choose_kernels(device, train.precision)
        self.curve: Curve = []
        self.step = 0
        self.steps = 0 if METHODS[train.method].online_only else train.offline_steps
        self._held_out: OfflineData | None = None
        held_out = dataset.validation
        if self.steps and held_out is not None and held_out.transitions >= train.backup_steps:
            # If the data does not fit in memory, its first shard.
            with Shards(held_out, config, load) as parts:
                self._held_out = parts.shard_at(1)
        self._seconds = 0.0
        self._info: Info = {}
        self._check = FiniteCheck(agent, "--train.learning-rate")
        # The step on the device, for updates in CUDA graphs.
        self._step = torch.zeros((), dtype=torch.float64, device=device)
        self._shard_buffer = ShardBuffer(self._shards)
        self._updates = self._make_updates()

    def run(self, until: int, on_steps: Callable[[int, str | None], None]) -> None:
        """Update until `step` is `until`.

        Args:
            on_steps: called with the number of updates since its last call, and with a note at
                each point of the curve.

        Raises:
            TrainingDiverged: the losses are no longer finite.
        """
        train = self._config.train
        start = time.monotonic() - self._seconds
        self._step.fill_(self.step)
        while self.step < until:
            if self._shard_buffer.advance(self.step + 1, in_place=self._updates.fixed_addresses):
                self._updates = self._make_updates()
            next_point = min(self.steps, (self.step // train.log_every + 1) * train.log_every)
            stop = min(until, next_point, self._shards.last_update(self.step + 1))
            count = min(stop - self.step, self._updates.stride)
            self._info = self._updates.run(count)
            self.step += count
            note = None
            if self.step % train.log_every == 0 or self.step == self.steps:
                point = self.figures()
                if self._held_out is not None:
                    point |= self._validate(self._held_out)
                self.curve.append({"step": self.step, "seconds": time.monotonic() - start, **point})
                if "critic/value" in point:
                    note = f"value {point['critic/value']:.1f}"
            on_steps(count, note)
        self._seconds = time.monotonic() - start

    def _make_updates(self) -> Updates:
        return repeat(self.draw, self.learn, self.generator, self.agent.parameters())

    def draw(self) -> tuple[Windows, Any]:
        """Draw the windows and the noise of one update."""
        windows = sample_windows(self._shard_buffer.transitions, self._config, self.generator)
        self._check.batch = windows
        return windows, self.agent.draw_noise(self._config.train.batch_size, self.generator)

    def learn(self, batch: tuple[Windows, Any]) -> Info:
        """Run one update; only `run` counts it in `step`."""
        if self._config.train.learning_rate_decay != 1:
            self._step.add_(1)
            self.agent.set_learning_rate(learning_rate_at(self._step, self._config.train))
        return self.agent.update(*batch)

    def figures(self) -> dict[str, float]:
        """Return losses, values and norms of gradients of the last update.

        Raises:
            TrainingDiverged: one is not finite.
        """
        return self._check.read(self._info, self.step)

    def activity(self) -> Activity:
        """Return the number of updates."""
        return Activity({"updates": self.step})

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs besides the agent and the curve."""
        return {
            "generator": self.generator.get_state(),
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self._seconds, dtype=torch.float64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the step at which `state` was taken, with the same updates."""
        set_generator(self.generator, state["generator"])
        self.step, self._seconds = int(state["step"]), float(state["seconds"])

    def close(self) -> None:
        """Release the data and the device memory."""
        # CUDA graphs and this training refer to each other: both would stay in device memory.
        del self._updates
        self._closing.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @torch.no_grad()
    def _validate(self, data: OfflineData) -> dict[str, float]:
        """Return the agent's validation losses, on the same windows and noise each time."""
        generator = torch.Generator(data.rewards.device).manual_seed(self._seed)
        sampled = sample_windows(data, self._config, generator, _VALIDATION_BATCH)
        noise = self.agent.draw_noise(_VALIDATION_BATCH, generator)
        losses = self.agent.validation_losses(self.agent.normalize_windows(sampled), noise)
        return {f"validation/{name}": float(loss) for name, loss in losses.items()}


def learning_rate_at(step: Tensor, train: TrainConfig) -> Tensor:
    """Return the learning rate of an offline update; `step` counts from 1, both are scalars."""
    done = (step - 1) / max(1, train.offline_steps - 1)
    return train.learning_rate * (1 - done * (1 - train.learning_rate_decay))

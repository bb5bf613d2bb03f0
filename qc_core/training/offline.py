"""Offline updates that can stop and go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial

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
from qc_core.data.replay.windows import sample_windows
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.networks.kernels import choose as choose_kernels
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import Curve
from qc_core.training.device import set_generator
from qc_core.training.updates import repeat

_VALIDATION_BATCH = 1024


class OfflineTraining(contextlib.AbstractContextManager["OfflineTraining"]):
    """An agent that learns from a data set.

    The same seed gives the same weights on the same CPU with as many threads.

    Args:
        agent: to go on with; None makes a fresh one.

    Attributes:
        step: updates done.
        steps: updates in all; none for a method without an offline phase.
        generator: what data and noise are drawn from.
    """

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
        self._slices = self._closing.enter_context(Shards(dataset, config, load))
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
            # Of more than fits in memory, the first part.
            with Shards(held_out, config, load) as parts:
                self._held_out = parts.shard_at(1)
        self._seconds = 0.0
        self._info: Info = {}
        # Also on the device, for updates that are recorded there.
        self._step = torch.zeros((), dtype=torch.float64, device=device)
        self._resident = ShardBuffer(self._slices)
        self._updates = repeat(self.update, self.generator)

    def run(self, until: int, on_update: Callable[[int, str | None], None]) -> None:
        """Update until `step` is `until`.

        Args:
            on_update: called with the number of updates done since it was called last, and with a
                remark now and then.

        Raises:
            RunError: the losses are no longer finite.
        """
        train = self._config.train
        start = time.monotonic() - self._seconds
        self._step.fill_(self.step)
        while self.step < until:
            if self._resident.advance(self.step + 1, in_place=self._updates.records):
                self._updates = repeat(self.update, self.generator)
            next_point = min(self.steps, (self.step // train.log_every + 1) * train.log_every)
            stop = min(until, next_point, self._slices.last_update(self.step + 1))
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
            on_update(count, note)
        self._seconds = time.monotonic() - start

    def update(self) -> Info:
        """One update, data and noise drawn, of which `run` keeps count."""
        self._step.add_(1)
        self.agent.set_learning_rate(learning_rate_at(self._step, self._config.train))
        windows = sample_windows(self._resident.transitions, self._config, self.generator)
        noise = self.agent.draw_noise(self._config.train.batch_size, self.generator)
        return self.agent.update(windows, noise)

    def figures(self) -> dict[str, float]:
        """The last update's losses and values (RunError if they are no longer finite)."""
        point = read_figures(self._info)
        require_finite(point, self.step, "--train.learning-rate")
        return point

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs beside the agent and the curve."""
        return {
            "generator": self.generator.get_state(),
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self._seconds, dtype=torch.float64),
        }

    def restore(self, state: Mapping[str, Tensor], curve: Curve) -> None:
        """Go on where `state` was taken: the same updates follow."""
        set_generator(self.generator, state["generator"])
        self.step, self._seconds = int(state["step"]), float(state["seconds"])
        self.curve = list(curve)

    def __exit__(self, *_: object) -> None:
        # Recordings hold this training, and it them: they and the data would stay on the device.
        del self._updates
        self._closing.close()

    @torch.no_grad()
    def _validate(self, data: OfflineData) -> dict[str, float]:
        """Return the agent's validation losses, on the same windows and noise each time."""
        generator = torch.Generator(data.rewards.device).manual_seed(self._seed)
        sampled = sample_windows(data, self._config, generator, _VALIDATION_BATCH)
        noise = self.agent.draw_noise(_VALIDATION_BATCH, generator)
        losses = self.agent.validation_losses(self.agent.normalize_windows(sampled), noise)
        return {f"validation/{name}": float(loss) for name, loss in losses.items()}


def learning_rate_at(step: Tensor, train: TrainConfig) -> Tensor:
    """The rate of one offline update, the first being 1; both are scalars on the device."""
    done = (step - 1) / max(1, train.offline_steps - 1)
    return train.learning_rate * (1 - done * (1 - train.learning_rate_decay))


def read_figures(info: Info) -> dict[str, float]:
    """Figures of an update as numbers; this waits for the device, once."""
    return dict(zip(info, torch.stack([*info.values()]).tolist(), strict=True)) if info else {}


def require_finite(point: dict[str, float], step: int, remedy: str) -> None:
    """Stop a training whose figures have become NaN or infinite (TrainingDiverged).

    Args:
        remedy: the option to lower.
    """
    wrong = [name for name, value in point.items() if not abs(value) < float("inf")]
    if wrong:
        raise TrainingDiverged(
            f"training diverged before update {step}: {wrong[0]} is {point[wrong[0]]}; "
            f"lower {remedy}"
        )

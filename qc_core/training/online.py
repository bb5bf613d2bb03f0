"""Online training: chunks are executed open loop, every step is learned from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from qc_core.agents.agent import Agent, Info
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset
from qc_core.data.replay.replay import OfflineData, Replay
from qc_core.data.replay.shard_buffer import ShardBuffer
from qc_core.data.replay.shards import Shards
from qc_core.data.replay.windows import Windows, concatenate, sample_windows
from qc_core.errors import UsageError
from qc_core.networks.kernels import choose as choose_kernels
from qc_core.seeds import seeds_for
from qc_core.training.device import cpu_share, set_generator
from qc_core.training.explore import Exploration
from qc_core.training.offline import read_figures, require_finite
from qc_core.training.policy import ExplorationPolicy
from qc_core.training.updates import repeat


class OnlineTraining(contextlib.AbstractContextManager["OnlineTraining"]):
    """An agent that explores environments and learns from what it and the data set saw.

    Each transition is added to the buffer when its environment's turn comes, and the updates of
    that step follow: order and number of both are the recipe's, whatever is ready first. Where
    this process has several cores, the environments play in processes of their own meanwhile; for
    that, an environment's next actions are chosen before the updates of its last transition, so
    that the policy acts with weights that lack at most these (`Exploration`).

    The flow family samples one buffer in which online transitions stand behind the data set's;
    the RLPD family takes a fixed part of each batch from the data set, and explores uniformly
    until the updates begin.

    Args:
        trial: decides the episodes that are explored and the order of the data.

    Attributes:
        step: environment steps done.
    """

    def __init__(
        self, config: Config, agent: Agent, dataset: Dataset, device: torch.device, *, trial: int
    ) -> None:
        train = config.train
        self.agent, self.step = agent, 0
        agent.kernels = choose_kernels(device, train.precision)
        self._config = config
        self._mixes = METHODS[train.method].online_only
        update_seed = seeds_for("update", config.seed, 1, offset=trial)[0]
        self._generator = torch.Generator(device).manual_seed(update_seed)
        load = partial(OfflineData, device=device, config=config.data)
        with contextlib.ExitStack() as opened:
            opened.enter_context(
                exploration := Exploration(
                    config,
                    ExplorationPolicy(agent),
                    trial=trial,
                    uniform_steps=train.learning_starts if self._mixes else 0,
                    apart=cpu_share() > 1,
                )
            )
            slices = Shards(dataset, config, load)
            if self._mixes:
                self._resident = ShardBuffer(opened.enter_context(slices))
                self._replay = _make_replay(config, agent, slices.shard_at(1), device)
            else:
                # The part of the data that the offline phase ended with, copied into the buffer.
                with slices:
                    offline = slices.shard_at(train.offline_steps)
                    self._replay = _make_replay(config, agent, offline, device)
            self._closing = opened.pop_all()
        self._exploration = exploration
        self._updates = repeat(self._update, self._generator)
        self._info: Info = {}

    def run(self, until: int, on_step: Callable[[], None]) -> None:
        """Explore and learn until `step` is `until`.

        Args:
            on_step: called after each environment step.

        Raises:
            RunError: an environment failed.
        """
        train = self._config.train
        while self.step < until:
            self.step += 1
            self._replay.add(*self._exploration.step(self.step))
            if (
                self.step > train.learning_starts
                and self._replay.window_count(train.backup_steps) > 0
            ):
                self.learn(train.utd_ratio)
            on_step()

    def learn(self, updates: int) -> None:
        """Update so many times from what is there."""
        if self._mixes and self._resident.advance(self.step, in_place=self._updates.records):
            self._updates = repeat(self._update, self._generator)
        if updates:
            self._info = self._updates.run(updates)

    def _update(self) -> Info:
        noise = self.agent.draw_noise(self._config.train.batch_size, self._generator)
        return self.agent.update(self.draw_batch(), noise)

    def figures(self) -> dict[str, float]:
        """The last update's losses and values (RunError if they are no longer finite)."""
        point = read_figures(self._info)
        require_finite(point, self.step, "--train.online-learning-rate")
        return point

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs beside the agent; the episodes that are going on are given up."""
        replay = {f"replay.{name}": value for name, value in self._replay.state().items()}
        return {
            "generator": self._generator.get_state(),
            "step": torch.tensor(self.step),
            "episode": torch.tensor(self._exploration.episode),
            **replay,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken, with new episodes."""
        set_generator(self._generator, state["generator"])
        self.step = int(state["step"])
        self._exploration.restart(int(state["episode"]))
        self._replay.restore(
            {
                name.removeprefix("replay."): value
                for name, value in state.items()
                if name.startswith("replay.")
            }
        )
        self._replay.end_episodes()

    def __exit__(self, *_: object) -> None:
        # Recordings hold this training, and it them: they and the buffer would stay on the device.
        del self._updates
        self._closing.close()

    def draw_batch(self) -> Windows:
        """Windows for one update, from the data set and from what was explored."""
        if not self._mixes:
            return sample_windows(self._replay, self._config, self._generator)
        batch = self._config.train.batch_size
        offline = round(batch * self._config.train.offline_fraction)
        sources = (self._resident.transitions, offline), (self._replay, batch - offline)
        parts = (
            sample_windows(source, self._config, self._generator, size)
            for source, size in sources
            if size
        )
        return concatenate(*parts)


def _make_replay(
    config: Config, agent: Agent, offline: OfflineData, device: torch.device
) -> Replay:
    train = config.train
    start = None if METHODS[train.method].online_only else offline
    start_size = start.size if start else 0
    capacity = train.replay_capacity or start_size + train.online_steps
    least = max(start_size + 1, (train.backup_steps - 1) * train.num_envs + 1)
    if capacity < least:
        raise UsageError(f"--train.replay-capacity must be at least {least} here, got {capacity}")
    return Replay(capacity, agent.observation_size, offline.action_bounds, device, config, start)

"""Online training: executes chunks in environments and learns from every step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qc_core.agents.agent import Agent, Info
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset
from qc_core.data.replay.replay import OfflineData, Replay
from qc_core.data.replay.shard_buffer import ShardBuffer
from qc_core.data.replay.shards import Shards
from qc_core.data.replay.windows import Windows, concatenate, sample_windows
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.networks.kernels import choose as choose_kernels
from qc_core.seeds import seeds_for
from qc_core.tracking.metrics import Activity
from qc_core.training.device import set_generator
from qc_core.training.divergence import FiniteCheck
from qc_core.training.exploration import ExploredEpisodes
from qc_core.training.policy import ExplorationPolicy
from qc_core.training.rollout import Rollout, Transition
from qc_core.training.updates import Updates, repeat


class OnlineTraining(contextlib.AbstractContextManager["OnlineTraining"]):
    """Trains an agent on its own steps in environments and on the dataset.

    Each environment step adds a transition to the replay buffer, then the updates of that step
    run. Order and number of both depend only on the configuration, not on timing. The environments
    run in processes of their own. To keep them busy, the next actions of an environment are chosen
    before the updates of its last transition: the weights that act are at most these updates old
    (`Rollout`).

    The flow family samples from one buffer, which contains the dataset and then the online
    transitions. The RLPD family takes a fixed share of each batch from the dataset, and explores
    with uniform actions until the updates start.

    Args:
        agent: the agent to train.
        trial: determines the seeds of the episodes and the order of the data.

    Attributes:
        step: environment steps done.
        steps: environment steps in total.
        stride: steps between two looks at evaluation and checkpoints.
    """

    stride = 1

    def __init__(
        self, config: Config, agent: Agent, dataset: Dataset, device: torch.device, *, trial: int
    ) -> None:
        train = config.train
        self.agent, self.step, self.steps = agent, 0, train.online_steps
        agent.kernels = choose_kernels(device, train.precision)
        self._config = config
        self._mixes = agent.offline_fraction is not None
        update_seed = seeds_for("update", config.seed, 1, offset=trial)[0]
        self._generator = torch.Generator(device).manual_seed(update_seed)
        load = partial(OfflineData, device=device, config=config.data)
        with contextlib.ExitStack() as opened:
            opened.enter_context(
                rollout := Rollout(
                    config,
                    ExplorationPolicy(agent),
                    trial=trial,
                    uniform_steps=train.learning_starts if self._mixes else 0,
                )
            )
            shards = Shards(dataset, config, load)
            if self._mixes:
                self._shard_buffer = ShardBuffer(opened.enter_context(shards))
                self._replay = _make_replay(config, agent, shards.shard_at(1), device)
            else:
                # Copies the shard that the offline phase ended with into the buffer.
                with shards:
                    offline = shards.shard_at(train.offline_steps)
                    self._replay = _make_replay(config, agent, offline, device)
            self._closing = opened.pop_all()
        self._rollout = rollout
        self._explored = ExploredEpisodes(train.num_envs)
        self._updates_done = 0
        self._updates = self._make_updates()
        self._info: Info = {}
        self._check = FiniteCheck(agent, "--train.online-learning-rate")

    def run(self, until: int, on_steps: Callable[[int, str | None], None]) -> None:
        """Explore and learn until `step` is `until`.

        Args:
            on_steps: called with 1 and None after each environment step and its updates.

        Raises:
            EnvironmentFailed: the environment failed in too many episodes in a row.
            TrainingDiverged: the policy gives actions that are not finite.
        """
        train = self._config.train
        while self.step < until:
            self.step += 1
            while (transition := self._explore()) is None:
                self._replay.end_episode()
                self._explored.drop(self.step)
            self._explored.add(self.step, transition)
            self._replay.add(*transition)
            if (
                self.step > train.learning_starts
                and self._replay.window_count(train.backup_steps) > 0
            ):
                self.learn(train.utd_ratio)
            on_steps(1, None)

    def _explore(self) -> Transition | None:
        try:
            return self._rollout.step(self.step)
        except TrainingDiverged as error:
            # A figure that is not finite, too, tells more.
            self.figures()
            raise self._check.diverged("an action is not finite", self.step) from error

    def learn(self, updates: int) -> None:
        """Run a number of updates from the transitions so far."""
        in_place = self._updates.fixed_addresses
        if self._mixes and self._shard_buffer.advance(self.step, in_place=in_place):
            self._updates = self._make_updates()
        if updates:
            self._info = self._updates.run(updates)
            self._updates_done += updates

    def _make_updates(self) -> Updates:
        return repeat(self._draw, self._learn, self._generator, self.agent.parameters())

    def _draw(self) -> tuple[Windows, Any]:
        noise = self.agent.draw_noise(self._config.train.batch_size, self._generator)
        self._check.batch = self.draw_batch()
        return self._check.batch, noise

    def _learn(self, batch: tuple[Windows, Any]) -> Info:
        return self.agent.update(*batch)

    def figures(self) -> dict[str, float]:
        """Return losses, values and norms of gradients of the last update.

        Raises:
            TrainingDiverged: one is not finite.
        """
        return self._check.read(self._info, self.step)

    def activity(self) -> Activity:
        """Return steps and updates, and the episodes that ended since the last call."""
        counts = {"environment_steps": self.step, "updates": self._updates_done}
        return Activity(counts, self._explored.take())

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs besides the agent; running episodes are not part of it."""
        replay = {f"replay.{name}": value for name, value in self._replay.state().items()}
        return {
            "generator": self._generator.get_state(),
            "step": torch.tensor(self.step),
            "episode": torch.tensor(self._rollout.episode),
            **replay,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the step at which `state` was taken, with new episodes."""
        set_generator(self._generator, state["generator"])
        self.step = int(state["step"])
        self._rollout.restart(int(state["episode"]))
        self._replay.restore(
            {
                name.removeprefix("replay."): value
                for name, value in state.items()
                if name.startswith("replay.")
            }
        )
        self._replay.end_episodes()

    def close(self) -> None:
        """Release the environments, the buffer and the device memory."""
        # CUDA graphs and this training refer to each other: both would stay in device memory.
        del self._updates
        self._closing.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def draw_batch(self) -> Windows:
        """Return the windows of one update, from the dataset and from online transitions."""
        fraction = self.agent.offline_fraction
        if fraction is None:
            return sample_windows(self._replay, self._config, self._generator)
        batch = self._config.train.batch_size
        offline = round(batch * fraction)
        sources = (self._shard_buffer.transitions, offline), (self._replay, batch - offline)
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
    start = offline if agent.offline_fraction is None else None
    start_size = start.size if start else 0
    capacity = train.replay_capacity or start_size + train.online_steps
    minimum = max(start_size + 1, (train.backup_steps - 1) * train.num_envs + 1)
    if capacity < minimum:
        raise UsageError(f"--train.replay-capacity must be at least {minimum} here, got {capacity}")
    return Replay(capacity, agent.observation_size, offline.action_bounds, device, config, start)

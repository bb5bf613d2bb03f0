"""Online training: chunks are executed open loop, every step is learned from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

import gymnasium
import numpy as np
import torch
from torch import Tensor

from qc_core.agents.agent import Agent, Info
from qc_core.data.dataset import Dataset
from qc_core.data.replay import OfflineData, Replay
from qc_core.data.slices import Slices
from qc_core.data.windows import Windows, concatenate, sample_windows
from qc_core.envs.make import make_environment
from qc_core.errors import WrongUse
from qc_core.networks.arithmetic import choose as choose_arithmetic
from qc_core.recipes.config import Config
from qc_core.recipes.methods import METHODS
from qc_core.runtime.executor import ChunkExecutor
from qc_core.seeds import seeds_for
from qc_core.training.device import set_generator
from qc_core.training.offline import read_figures, require_finite
from qc_core.training.policy import ExplorationPolicy

# Trials explore on stretches of seeds of their own.
_EPISODES_PER_TRIAL = 8192


class OnlineTraining(contextlib.AbstractContextManager["OnlineTraining"]):
    """An agent that explores an environment and learns from what it and the data set saw.

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
        agent.arithmetic = choose_arithmetic(device, train.precision)
        self._config, self._trial = config, trial
        self._mixes = METHODS[train.method].online_only
        self._closing = contextlib.ExitStack()
        load = partial(OfflineData, device=device, config=config.data)
        slices = Slices(dataset, config, load)
        if self._mixes:
            self._data = self._closing.enter_context(slices)
            offline = slices.at(1)
        else:
            # The part of the data that the offline phase ended with, copied into the buffer.
            with slices:
                offline = slices.at(train.offline_steps)
        start_size = 0 if self._mixes else offline.size
        capacity = train.replay_capacity or start_size + train.online_steps
        if capacity <= start_size or capacity < train.backup_length:
            least = max(start_size + 1, train.backup_length)
            raise WrongUse(f"--train.replay-capacity must be at least {least} here, got {capacity}")
        self._replay = Replay(
            capacity,
            agent.observation_size,
            offline.action_bounds,
            device,
            config,
            None if self._mixes else offline,
        )
        update_seed = seeds_for("update", config.seed, 1, offset=trial)[0]
        self._generator = torch.Generator(device).manual_seed(update_seed)
        self._policy = ExplorationPolicy(agent)
        self._environment: gymnasium.Env = make_environment(config.environment)
        self._closing.callback(self._environment.close)
        self._episode = 0
        self._observation: np.ndarray | None = None
        self._info: Info = {}

    def run(self, until: int, on_step: Callable[[], None]) -> None:
        """Explore and learn until `step` is `until`.

        Args:
            on_step: called after each environment step.
        """
        train = self._config.train
        while self.step < until:
            self.step += 1
            self._explore()
            if self.step > train.online_start and self._replay.size >= train.backup_length:
                for _ in range(train.updates_per_step):
                    noise = self.agent.draw_noise(train.batch_size, self._generator)
                    self._info = self.agent.update(self.draw_batch(), noise)
            on_step()

    def figures(self) -> dict[str, float]:
        """The last update's losses and values (WorkFailed if they are no longer finite)."""
        point = read_figures(self._info)
        require_finite(point, self.step, "--train.online-learning-rate")
        return point

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs beside the agent; the episode that is going on is given up."""
        replay = {f"replay.{name}": value for name, value in self._replay.state().items()}
        return {
            "generator": self._generator.get_state(),
            "step": torch.tensor(self.step),
            "episode": torch.tensor(self._episode),
            **replay,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken, with a new episode."""
        set_generator(self._generator, state["generator"])
        self.step, self._episode = int(state["step"]), int(state["episode"])
        self._replay.restore(
            {
                name.removeprefix("replay."): value
                for name, value in state.items()
                if name.startswith("replay.")
            }
        )
        self._replay.end_episode()

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _explore(self) -> None:
        """One step of the environment into the buffer."""
        if self._observation is None:
            offset = self._trial * _EPISODES_PER_TRIAL + self._episode
            seed = seeds_for("online", self._config.seed, 1, offset=offset)[0]
            self._episode += 1
            self._executor = ChunkExecutor(self._policy, np.random.default_rng(seed))
            self._observation, _ = self._environment.reset(seed=seed)
        self._policy.uniform = self._mixes and self.step <= self._config.train.online_start
        observation = self._observation
        assert observation is not None
        action = self._executor.act(observation)
        after, reward, terminated, truncated, _ = self._environment.step(action)
        ended = terminated or truncated
        self._replay.add(
            observation, action, float(reward), after, terminated=terminated, ended=ended
        )
        self._observation = None if ended else after

    def draw_batch(self) -> Windows:
        """Windows for one update, from the data set and from what was explored."""
        if not self._mixes:
            return sample_windows(self._replay, self._config, self._generator)
        batch = self._config.train.batch_size
        offline = round(batch * self._config.train.offline_fraction)
        data = self._data.at(max(1, self.step))
        parts = (
            sample_windows(source, self._config, self._generator, size)
            for source, size in ((data, offline), (self._replay, batch - offline))
            if size
        )
        return concatenate(*parts)

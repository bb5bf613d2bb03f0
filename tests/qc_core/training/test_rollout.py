"""Parallel environments give the same transitions and weights as a sequential loop.

Shapes: B batch, H horizon, O observation, A action.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.replay.windows import gather_windows
from qc_core.envs.make import make_environment
from qc_core.networks.kernels import choose
from qc_core.seeds import seeds_for
from qc_core.training.online import OnlineTraining
from tests.conftest import PENDULUM
from tests.failing_environment import failing

CPU = torch.device("cpu")
# Chunks of 3 do not divide the pendulum's 200 steps.
HORIZON, OFFLINE, STEPS, START = 3, 30, 405, 390


@pytest.fixture
def data(pendulum: Path) -> Dataset:
    return open_dataset(pendulum)


def with_environments(config: Config, environments: int) -> Config:
    return replace(
        config,
        train=replace(
            config.train,
            num_envs=environments,
            backup_horizon=HORIZON,
            learning_starts=START,
            online_steps=STEPS,
            utd_ratio=2,
        ),
    )


def made_agent(config: Config) -> Agent:
    torch.manual_seed(0)
    agent = make_agent(3, 1, config.train)
    agent.set_action_bounds([-2.0], [2.0])
    agent.kernels = choose(CPU, config.train.precision)
    return agent


class Sequential:
    """Steps, adds and updates in turn; rows as in a buffer, each environment's in its own list."""

    def __init__(self, config: Config, agent: Agent, dataset: Dataset) -> None:
        self.config, self.agent = config, agent
        self.observations = [*torch.from_numpy(dataset.observations[:-1].copy())]
        self.after = [*torch.from_numpy(dataset.observations[1:].copy())]
        limit = 1 - 1e-5
        self.action_rows = [*(torch.from_numpy(dataset.actions.copy()) / 2).clamp(-limit, limit)]
        self.reward_rows, self.mask_rows, self.terminal_rows = (
            array.tolist() for array in (dataset.rewards, dataset.masks, dataset.terminals)
        )
        count = config.train.num_envs
        self.stretches: list[list[int]] = [[*range(OFFLINE)], *([] for _ in range(count))]
        self.environments: list[gymnasium.Env] = [make_environment(PENDULUM) for _ in range(count)]
        self.episode = 0
        self.going_on: list[dict] = [{} for _ in range(count)]
        self.generator = torch.Generator().manual_seed(seeds_for("update", config.seed, 1)[0])

    def begin(self, which: int) -> None:
        seed = seeds_for("online", self.config.seed, 1, offset=self.episode)[0]
        self.episode += 1
        observation, _ = self.environments[which].reset(seed=seed)
        self.going_on[which] = {
            "rng": np.random.default_rng(seed),
            "observation": observation,
            "chunk": [],
        }

    def choose(self, which: int) -> None:
        now = self.going_on[which]
        noise = now["rng"].standard_normal((1, 3), dtype=np.float32)
        with torch.no_grad():
            observation = torch.from_numpy(np.float32(now["observation"]))[None]
            now["chunk"] = [*self.agent.chunk(observation, torch.from_numpy(noise))[0].numpy()]

    def step(self, number: int) -> None:
        which = number % len(self.environments)
        now = self.going_on[which]
        if not now["chunk"]:
            self.choose(which)
        action = now["chunk"].pop(0)
        after, reward, terminated, truncated, _ = self.environments[which].step(action)
        self.stretches[1 + which].append(len(self.observations))
        self.observations.append(torch.from_numpy(np.float32(now["observation"])))
        self.after.append(torch.from_numpy(np.float32(after)))
        limit = 1 - 1e-5
        self.action_rows.append((torch.from_numpy(action) / 2).clamp(-limit, limit))
        self.reward_rows.append(float(reward))
        self.mask_rows.append(0.0 if terminated else 1.0)
        self.terminal_rows.append(1.0 if terminated or truncated else 0.0)
        now["observation"] = after
        if terminated or truncated:
            self.begin(which)
        elif not now["chunk"]:
            self.choose(which)

    def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
        def rows(start: int) -> list[int]:
            if start < OFFLINE:
                # In the buffer, an episode ends between the dataset and the online transitions.
                return list(range(start, start + backup_steps))
            (stretch,) = (stretch for stretch in self.stretches if start in stretch)
            place = stretch.index(start)
            assert place + backup_steps <= len(stretch), "a window across the growing end"
            return stretch[place : place + backup_steps]

        return torch.tensor([rows(start) for start in start_B.tolist()])

    def update(self) -> None:
        train = self.config.train
        self.actions = torch.stack(self.action_rows)
        self.rewards, self.masks, self.terminals = (
            torch.tensor(rows) for rows in (self.reward_rows, self.mask_rows, self.terminal_rows)
        )
        noise = self.agent.draw_noise(train.batch_size, self.generator)
        uniform = torch.rand(train.batch_size, generator=self.generator, dtype=torch.float64)
        starts = self.sample_starts(uniform, train.backup_horizon)
        windows = gather_windows(
            self,
            starts,
            backup_steps=train.backup_horizon,
            discount=train.discount,
            terminal_handling="drop",
        )
        self.agent.update(windows, noise)

    def run(self) -> None:
        train = self.config.train
        for turn in range(len(self.environments)):
            self.begin((1 + turn) % len(self.environments))
        for number in range(1, train.online_steps + 1):
            self.step(number)
            if number > train.learning_starts:
                for _ in range(train.utd_ratio):
                    self.update()

    def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
        windows = len(self.observations) - (backup_steps - 1) * len(self.environments)
        return torch.tensor([int(number * windows) for number in uniform_B.tolist()])

    def observations_at(self, index: Tensor) -> Tensor:
        return torch.stack(self.observations)[index]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return torch.stack(self.after)[index]


@pytest.mark.parametrize("environments", [1, 2])
@pytest.mark.parametrize("cores", ["1", "2"])
def test_parallel_training_equals_a_sequential_loop(
    pendulum_config: Config,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    environments: int,
    cores: str,
) -> None:
    """The comparison is exact: every transition, and every weight after 30 updates."""
    monkeypatch.setenv("QC_THREADS", cores)
    chosen = with_environments(pendulum_config, environments)
    reference = Sequential(chosen, made_agent(chosen), data)
    reference.run()
    agent = made_agent(chosen)
    with OnlineTraining(chosen, agent, data, CPU, trial=0) as training:
        training.run(STEPS, lambda *_: None)
        state = training.state()
    for name, rows in {
        "observations": torch.stack(reference.observations),
        "next_observations": torch.stack(reference.after),
        "actions": torch.stack(reference.action_rows),
        "rewards": torch.tensor(reference.reward_rows),
        "masks": torch.tensor(reference.mask_rows),
        "terminals": torch.tensor(reference.terminal_rows),
    }.items():
        assert torch.equal(state[f"replay.{name}"], rows[OFFLINE:]), name
    ends = [row - OFFLINE for row in range(OFFLINE, OFFLINE + STEPS) if reference.terminals[row]]
    assert ends == ([199, 399] if environments == 1 else [398, 399])
    for name, value in reference.agent.state_dict().items():
        assert torch.equal(agent.state_dict()[name], value), name


def first_observations(config: Config, dataset: Dataset, use: Callable[[OnlineTraining], None]):
    with OnlineTraining(config, made_agent(config), dataset, CPU, trial=0) as training:
        use(training)
        return training.state()["replay.observations"]


@pytest.mark.parametrize("environments", [1, 2])
@pytest.mark.parametrize("cores", ["1", "2"])
def test_resume_continues_with_the_first_episode_that_was_not_started(
    pendulum_config: Config,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    environments: int,
    cores: str,
) -> None:
    """At an episode's end the next one is already reset; interrupted there, it is not skipped."""
    monkeypatch.setenv("QC_THREADS", cores)
    chosen = with_environments(pendulum_config, environments)

    def broken_off(stop: int) -> Tensor:
        def use(training: OnlineTraining) -> None:
            training.run(stop, lambda *_: None)
            training.restore(training.state())
            training.run(stop + environments, lambda *_: None)

        return first_observations(chosen, data, use)[stop:]

    environment = make_environment(PENDULUM)

    def start(episode: int) -> Tensor:
        seed = seeds_for("online", chosen.seed, 1, offset=episode)[0]
        return torch.from_numpy(environment.reset(seed=seed)[0])

    for stop, episode in ((10, environments), (200 * environments, environments)):
        rows = broken_off(stop)
        assert torch.equal(rows, torch.stack([start(episode + i) for i in range(environments)]))


def test_windows_end_where_an_episode_was_interrupted(
    pendulum_config: Config, data: Dataset
) -> None:
    chosen = with_environments(pendulum_config, 2)
    with OnlineTraining(chosen, made_agent(chosen), data, CPU, trial=0) as training:
        training.run(5, lambda *_: None)
        training.restore(training.state())
        assert training.state()["replay.terminals"].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("environments", [1, 2])
def test_a_failing_environment_costs_its_episode_and_training_continues(
    config: Config, dataset: Path, tmp_path: Path, environments: int
) -> None:
    """Episodes have 8 steps; the third step of the first one fails."""
    chosen = replace(
        config,
        environment=failing("crashes", 1, tmp_path),
        train=replace(config.train, num_envs=environments, online_steps=20),
    )
    agent = make_agent(28, 5, chosen.train)
    with OnlineTraining(chosen, agent, open_dataset(dataset), CPU, trial=0) as training:
        training.run(20, lambda *_: None)
        terminals = training.state()["replay.terminals"].reshape(-1, environments).T.tolist()
    # With two environments, either may be the first to reach its third step.
    failed, *others = sorted(terminals, reverse=True)
    assert failed == ([0, 1] + [0] * 7 + [1] + [0] * 7 + [1] + [0] * 2)[: len(failed)]
    assert all(other == ([0] * 7 + [1] + [0] * 2) for other in others)

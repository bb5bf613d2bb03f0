"""An agent's episodes on the way, in processes beside its training where there are cores."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from qc_core.agents.agent import Agent
from qc_core.agents.make import make_agent
from qc_core.config.settings import Config, TrainConfig
from qc_core.envs.episode_result import EpisodeResult
from qc_core.envs.make import make_environment
from qc_core.envs.play import episode_pool, play_episode
from qc_core.training.checkpoint import save_tensors
from qc_core.training.device import cpu_share
from qc_core.training.policy import AgentPolicy

# Each takes a simulator and torch into memory, most of a gigabyte.
_MOST_PROCESSES = 8
# Snapshots of the weights that wait to be played, the one that is being played among them.
_MOST_PENDING = 2
_LOWEST_PRIORITY = 19

OnOutcomes = Callable[[list[EpisodeResult]], None]


class Scoring(contextlib.AbstractContextManager["Scoring"]):
    """Plays one episode per seed with the weights that an agent has at the time.

    On a CPU the episodes are the same whether they are played here, where this process has one
    core, or in the background, while the agent learns on.
    """

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        self._seeds = seeds
        self._length = config.evaluate.execution_horizon
        self._pending: deque[_Pending] = deque()
        self._begun = 0
        processes = min(len(seeds), cpu_share() - 1, _MOST_PROCESSES)
        with contextlib.ExitStack() as opened:
            if processes:
                self._submit = opened.enter_context(
                    episode_pool(config.environment, processes, play_episode)
                )
                scratch = tempfile.TemporaryDirectory(prefix="qc-scoring-")
                self._folder = Path(opened.enter_context(scratch))
            else:
                self._submit = None
                self._environment = make_environment(config.environment)
                opened.callback(self._environment.close)
            self._closing = opened.pop_all()

    def play(self, agent: Agent, on_outcomes: OnOutcomes) -> None:
        """Play with the weights as they are now.

        Args:
            on_outcomes: called with an outcome per seed, before this returns or, where the
                episodes are played in the background, by a later `poll` or by `finish`, in the
                order of the calls; what it raises, they raise.
        """
        if self._submit is None:
            policy = AgentPolicy(agent, execution_horizon=self._length)
            on_outcomes([play_episode(self._environment, policy, seed) for seed in self._seeds])
            return
        # Training that outruns its scores waits for them here.
        while len(self._pending) >= _MOST_PENDING:
            self._hand_over()
        self._begun += 1
        weights = self._folder / f"{self._begun}.safetensors"
        save_tensors(agent.state_dict(), weights)
        load = _Snapshot(
            weights, agent.observation_size, agent.action_size, agent.config, self._length
        )
        futures = [self._submit(weights.name, load, seed) for seed in self._seeds]
        self._pending.append(_Pending(weights, futures, on_outcomes))

    def poll(self) -> None:
        """Hand over what has been played."""
        while self._pending and all(future.done() for future in self._pending[0].futures):
            self._hand_over()

    @property
    def idle(self) -> bool:
        """Whether everything that was played has been handed over."""
        return not self._pending

    def finish(self) -> None:
        """Wait for what is being played, and hand it over."""
        while self._pending:
            self._hand_over()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Processes that are still at work are broken off when the block fails.
        self._closing.__exit__(kind, error, trace)

    def _hand_over(self) -> None:
        weights, futures, on_outcomes = self._pending.popleft()
        outcomes = [future.result() for future in futures]
        weights.unlink()
        on_outcomes(outcomes)


class _Pending(NamedTuple):
    weights: Path
    futures: list[Future[EpisodeResult]]
    on_outcomes: OnOutcomes


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Makes the policy of an agent as it was, in a process that plays."""

    weights: Path
    observation_size: int
    action_size: int
    train: TrainConfig
    execution_horizon: int

    def __call__(self) -> AgentPolicy:
        # One process per core: none may take the others'. Training has the first claim on all of
        # them: its threads wait for one another, and one that is kept waiting holds up the rest.
        torch.set_num_threads(1)
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        agent = make_agent(self.observation_size, self.action_size, self.train)
        agent.load_state_dict(load_file(self.weights))
        return AgentPolicy(agent, execution_horizon=self.execution_horizon)

"""Plays evaluation episodes during training, in other processes."""

from __future__ import annotations

import contextlib
import os
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
from qc_core.cores import cpu_share
from qc_core.envs.failures import FEWER_IN_TRAINING, EpisodeFailures
from qc_core.envs.play import episode_pool, play_episode
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.scratch import scratch_folder
from qc_core.training.policy import AgentPolicy
from qc_core.training.saved_agent import save_tensors

# Each process needs 0.3 GiB of memory, and 0.6 GiB while it makes its environment.
_MAX_PROCESSES = 8
# Weight snapshots whose episodes are being played or wait.
_MAX_PENDING = 2
_LOWEST_PRIORITY = 19

OnResults = Callable[[list[EpisodeResult]], None]


class Scoring(contextlib.AbstractContextManager["Scoring"]):
    """Plays one episode per seed with the current weights of an agent, in other processes.

    If this process has one core, it waits for the episodes; otherwise they are played while the
    agent learns. On a CPU the results are the same. Episodes whose environment failed are left out.
    """

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        self._seeds = seeds
        self._length = config.evaluate.execution_horizon
        self._pending: deque[_Pending] = deque()
        self._snapshots = 0
        self._failures = EpisodeFailures(config.environment, FEWER_IN_TRAINING)
        cores = cpu_share()
        self._waits = cores == 1
        processes = min(len(seeds), max(1, cores - 1), _MAX_PROCESSES)
        with contextlib.ExitStack() as opened:
            self._submit = opened.enter_context(
                episode_pool(config.environment, processes, play_episode)
            )
            self._folder = opened.enter_context(scratch_folder("scoring"))
            self._closing = opened.pop_all()

    def play(self, agent: Agent, on_results: OnResults) -> None:
        """Play with the current weights.

        Args:
            on_results: called with one result per seed: before this returns or, for episodes in
                the background, by a later `poll` or `finish`, in the order of the calls. What it
                raises passes through them.

        Raises:
            EnvironmentFailed: the environment failed too often; also by `poll` and `finish`.
        """
        # Training that is faster than its evaluation waits here.
        while len(self._pending) >= _MAX_PENDING:
            self._report_first()
        self._snapshots += 1
        weights = self._folder / f"{self._snapshots}.safetensors"
        save_tensors(agent.state_dict(), weights)
        load = _Snapshot(
            weights,
            agent.observation_size,
            agent.action_size,
            agent.config,
            self._length,
            in_background=not self._waits,
        )
        futures = [self._submit(weights.name, load, seed) for seed in self._seeds]
        self._pending.append(_Pending(weights, futures, on_results))
        if self._waits:
            self.finish()

    def poll(self) -> None:
        """Report the evaluations whose episodes have been played."""
        while self._pending and all(future.done() for future in self._pending[0].futures):
            self._report_first()

    @property
    def idle(self) -> bool:
        """Whether all evaluations have been reported."""
        return not self._pending

    def finish(self) -> None:
        """Wait for all episodes and report them."""
        while self._pending:
            self._report_first()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # When the block fails, running processes are interrupted.
        self._closing.__exit__(kind, error, trace)

    def _report_first(self) -> None:
        weights, futures, on_results = self._pending.popleft()
        played = [self._failures.result_of(future) for future in futures]
        weights.unlink()
        results = [result for result in played if result is not None]
        if not results:
            self._failures.give_up("every episode of an evaluation")
        on_results(results)


class _Pending(NamedTuple):
    weights: Path
    futures: list[Future[EpisodeResult]]
    on_results: OnResults


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Creates the policy of saved weights in the process that plays it."""

    weights: Path
    observation_size: int
    action_size: int
    train: TrainConfig
    execution_horizon: int
    in_background: bool

    def __call__(self) -> AgentPolicy:
        # There is one process for each core.
        torch.set_num_threads(1)
        if self.in_background:
            # Training has priority on all cores: its threads wait for each other, so that one slow
            # thread delays all.
            os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        agent = make_agent(self.observation_size, self.action_size, self.train)
        agent.load_state_dict(load_file(self.weights))
        return AgentPolicy(agent, execution_horizon=self.execution_horizon)

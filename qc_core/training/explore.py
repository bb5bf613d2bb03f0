"""Environments that take turns: whose step comes next does not depend on which is ready first.

Shapes: O observation, A action.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import NamedTuple

import numpy as np

from qc_core.config.settings import Config
from qc_core.envs.remote import ChunkEnvironment, LocalEnvironment, RemoteEnvironment
from qc_core.runtime.executor import ChunkExecutor
from qc_core.seeds import seeds_for
from qc_core.training.policy import ExplorationPolicy

# A run has sixteen such stretches of seeds: one for each of its first sixteen trials. Trial 16
# explores trial 0's again, and episodes beyond a stretch are those of the next trial.
_EPISODES_PER_TRIAL = 8192


class Transition(NamedTuple):
    """One step of one environment, observations in float32.

    Attributes:
        action_A: in the environment's units.
        terminated: the task is over here; its value needs no bootstrap.
        ended: the episode's last transition, by success or by time.
    """

    observation_O: np.ndarray
    action_A: np.ndarray
    reward: float
    next_observation_O: np.ndarray
    terminated: bool
    ended: bool


class Exploration(contextlib.AbstractContextManager["Exploration"]):
    """Episodes of `config.train.num_envs` environments, a step of each in turn.

    Step k is environment k mod E's. Episodes have one running number over all environments, which
    decides their seed. As soon as an environment has played what it was told, it is told its next
    actions, and plays them while the caller learns from the ones before: the policy that chooses
    has not learned yet from the transition that `step` is about to return, and is asked for an
    episode's first actions when the environment's turn comes.

    Args:
        trial: decides the episodes.
        uniform_steps: before the policy chooses, chunks are uniform for so many steps.
        apart: each environment in a process of its own, which plays while this one does something
            else; else all in this process, to the same effect.
    """

    def __init__(
        self,
        config: Config,
        policy: ExplorationPolicy,
        *,
        trial: int,
        uniform_steps: int,
        apart: bool,
    ) -> None:
        self._seed, self._offset = config.seed, trial * _EPISODES_PER_TRIAL
        self._episode = 0
        kind = RemoteEnvironment if apart else LocalEnvironment
        with contextlib.ExitStack() as opened:
            self._explorers = [
                _Explorer(
                    opened.enter_context(contextlib.closing(kind(config.environment))),
                    policy,
                    uniform_steps,
                )
                for _ in range(config.train.num_envs)
            ]
            self._closing = opened.pop_all()

    @property
    def episode(self) -> int:
        """The number of the first episode of which no step has been taken."""
        return self._episode - sum(explorer.is_fresh for explorer in self._explorers)

    def step(self, number: int) -> Transition:
        """Step `number` of all; one follows the other."""
        turns = len(self._explorers)
        for turn in range(turns):
            explorer = self._explorers[(number + turn) % turns]
            if not explorer.has_begun:
                self._begin(explorer)
        explorer = self._explorers[number % turns]
        transition = explorer.step(number, number + turns)
        if transition.ended:
            self._begin(explorer)
        return transition

    def restart(self, episode: int) -> None:
        """Give up the episodes that are going on; the next one has this number."""
        for explorer in self._explorers:
            explorer.give_up()
        self._episode = episode

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _begin(self, explorer: _Explorer) -> None:
        offset = self._offset + self._episode
        explorer.begin(seeds_for("online", self._seed, 1, offset=offset)[0])
        self._episode += 1


class _Explorer:
    """One environment and the episode that goes on in it."""

    def __init__(
        self, environment: ChunkEnvironment, policy: ExplorationPolicy, uniform_steps: int
    ) -> None:
        self._environment, self._policy, self._uniform_steps = environment, policy, uniform_steps
        self._executor: ChunkExecutor | None = None
        self._observation_O: np.ndarray | None = None
        # Told to the environment, and not yet heard of.
        self._pending: deque[np.ndarray] = deque()
        self.is_fresh = False

    @property
    def has_begun(self) -> bool:
        return self._executor is not None

    def begin(self, seed: int) -> None:
        self._executor = ChunkExecutor(self._policy, np.random.default_rng(seed))
        self._observation_O = None
        self._pending.clear()
        self.is_fresh = True
        self._environment.reset(seed)

    def step(self, number: int, next_number: int) -> Transition:
        """Step `number`; this environment's next one has `next_number`."""
        if self._observation_O is None:
            self._observation_O = self._environment.receive().observation_O
            self._choose(self._observation_O, number)
        observation_O, action_A = self._observation_O, self._pending.popleft()
        happened = self._environment.receive()
        self.is_fresh = False
        self._observation_O = happened.observation_O
        if not self._pending and not happened.ended:
            self._choose(happened.observation_O, next_number)
        return Transition(
            observation_O,
            action_A,
            happened.reward,
            happened.observation_O,
            happened.terminated,
            happened.ended,
        )

    def give_up(self) -> None:
        if self.has_begun and self._observation_O is None:
            self._environment.receive()
        while self._pending and not self._environment.receive().ended:
            self._pending.popleft()
        self._pending.clear()
        self._executor, self.is_fresh = None, False

    def _choose(self, observation_O: np.ndarray, number: int) -> None:
        assert self._executor is not None
        self._policy.uniform = number <= self._uniform_steps
        actions_KA = self._executor.choose(observation_O)
        self._pending.extend(actions_KA)
        self._environment.play(actions_KA)

"""Steps several environments in turn, in an order that does not depend on timing.

Shapes: O observation, A action, K actions of a chunk that are executed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import NamedTuple

import numpy as np

from qc_core.config.settings import Config
from qc_core.envs.failures import FEWER_IN_TRAINING, EnvironmentFailed, EpisodeFailures
from qc_core.envs.remote import RemoteEnvironment
from qc_core.runtime.executor import ChunkExecutor
from qc_core.seeds import seeds_for
from qc_core.training.policy import ExplorationPolicy

# A run has sixteen such ranges of seeds, for its first sixteen trials. Trial 16 explores the
# episodes of trial 0 again, and episodes beyond a range are those of the next trial.
_EPISODES_PER_TRIAL = 8192


class Transition(NamedTuple):
    """One step of one environment, observations in float32.

    Attributes:
        action_A: in the environment's units.
        terminated: the task ended here; the value of the next observation is not bootstrapped.
        ended: the episode's last transition, by termination or truncation.
    """

    observation_O: np.ndarray
    action_A: np.ndarray
    reward: float
    next_observation_O: np.ndarray
    terminated: bool
    ended: bool


class Rollout(contextlib.AbstractContextManager["Rollout"]):
    """Runs episodes in `config.train.num_envs` environments, one step of each in turn.

    Step k belongs to environment k mod E. All environments share one episode counter, which
    determines the seed of each episode. An environment gets its next actions as soon as it has
    executed the previous ones, and executes them while the caller learns: the policy that chooses
    them has not yet learned from the transition that `step` is about to return. The first actions
    of an episode are chosen at the environment's turn.

    Args:
        trial: determines the seeds of the episodes.
        uniform_steps: number of first steps with uniform instead of learned chunks.

    Attributes:
        failures: episodes that the environment ended by failing.
    """

    def __init__(
        self,
        config: Config,
        policy: ExplorationPolicy,
        *,
        trial: int,
        uniform_steps: int,
    ) -> None:
        self._seed, self._offset = config.seed, trial * _EPISODES_PER_TRIAL
        self._next_episode = 0
        self.failures = EpisodeFailures(config.environment, FEWER_IN_TRAINING)
        with contextlib.ExitStack() as opened:
            self._explorers = [
                _Explorer(
                    opened.enter_context(contextlib.closing(RemoteEnvironment(config.environment))),
                    policy,
                    uniform_steps,
                )
                for _ in range(config.train.num_envs)
            ]
            self._closing = opened.pop_all()

    @property
    def episode(self) -> int:
        """The number of the first episode without any step so far."""
        return self._next_episode - sum(explorer.is_fresh for explorer in self._explorers)

    def step(self, number: int) -> Transition | None:
        """Return the transition of step `number`; numbers are consecutive.

        Returns:
            None if the environment failed: its episode ended with its last transition, and the
            next call with the same number returns the first transition of its next episode.

        Raises:
            EnvironmentFailed: too many episodes in a row have failed.
        """
        turns = len(self._explorers)
        for turn in range(turns):
            explorer = self._explorers[(number + turn) % turns]
            if not explorer.has_started:
                self._start(explorer)
        explorer = self._explorers[number % turns]
        try:
            transition = explorer.step(number, number + turns)
        except EnvironmentFailed as failure:
            self.failures.add(failure)
            self._start(explorer)
            return None
        if transition.ended:
            self.failures.completed()
            self._start(explorer)
        return transition

    def restart(self, episode: int) -> None:
        """Abandon the running episodes and start the next one with this number."""
        for explorer in self._explorers:
            explorer.abandon()
        self._next_episode = episode

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start(self, explorer: _Explorer) -> None:
        offset = self._offset + self._next_episode
        explorer.start(seeds_for("online", self._seed, 1, offset=offset)[0])
        self._next_episode += 1


class _Explorer:
    """One environment and its running episode."""

    def __init__(
        self, environment: RemoteEnvironment, policy: ExplorationPolicy, uniform_steps: int
    ) -> None:
        self._environment, self._policy, self._uniform_steps = environment, policy, uniform_steps
        self._executor: ChunkExecutor | None = None
        self._observation_O: np.ndarray | None = None
        # Actions sent to the environment whose results have not been received.
        self._pending: deque[np.ndarray] = deque()
        self.is_fresh = False

    @property
    def has_started(self) -> bool:
        return self._executor is not None

    def start(self, seed: int) -> None:
        self._executor = ChunkExecutor(self._policy, np.random.default_rng(seed))
        self._observation_O = None
        self._pending.clear()
        self.is_fresh = True
        self._environment.reset(seed)

    def step(self, number: int, next_number: int) -> Transition:
        """Return the transition of step `number`; this environment's next step is `next_number`."""
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

    def abandon(self) -> None:
        """Receive all pending results, so that the environment can be reset."""
        with contextlib.suppress(EnvironmentFailed):
            if self.has_started and self._observation_O is None:
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

"""Failures of environments: each costs its episode, and several in a row end the work."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from typing import NoReturn, TypeVar

from qc_core.envs.time_limit import LIMITS
from qc_core.errors import RunError
from qc_core.log import log
from qc_core.processes import how_ended
from qc_core.worker_pool import WorkerKilled

# The environment, not chance, is the cause of as many failures without a complete episode between.
MAX_IN_A_ROW = 5

T = TypeVar("T")


class EnvironmentFailed(RunError):
    """An environment raised, exited, crashed, did not answer or returned something invalid."""


class EpisodeFailures:
    """Counts the episodes of an environment that failed.

    Attributes:
        count: episodes that failed.
    """

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._in_a_row = self.count = 0
        self._last: EnvironmentFailed | None = None

    def add(self, failure: EnvironmentFailed) -> None:
        """Log an episode that failed (EnvironmentFailed: too many in a row)."""
        self.count += 1
        self._in_a_row += 1
        self._last = failure
        if self._in_a_row == MAX_IN_A_ROW:
            self.give_up(f"{MAX_IN_A_ROW} episodes in a row")
        log.warning(
            f"{self._environment}: {failure}; the episode is lost ({self.count} so far), and a new "
            "environment continues"
        )

    def completed(self) -> None:
        """Note that an episode is complete."""
        self._in_a_row = 0

    def result_of(self, episode: Future[T]) -> T | None:
        """Wait for an episode that another process plays; None if its environment failed.

        Raises:
            EnvironmentFailed: too many episodes in a row have failed.
        """
        try:
            result = episode.result()
        except EnvironmentFailed as failure:
            self.add(failure)
            return None
        except WorkerKilled as killed:
            self.add(EnvironmentFailed(process_ended(killed.exit_code)))
            return None
        self.completed()
        return result

    def give_up(self, episodes: str) -> NoReturn:
        """Raise EnvironmentFailed with the last cause.

        Args:
            episodes: that failed, for the message.
        """
        raise EnvironmentFailed(
            f"{self._environment} failed in {episodes}, last: {self._last}; correct the environment"
        ) from self._last


def process_ended(exit_code: int | None) -> str:
    """Return how the process of an environment ended, for messages."""
    if exit_code == -signal.SIGALRM:
        return f"the environment did not answer in time ({LIMITS})"
    return f"the environment process {how_ended(exit_code)}"

"""Failures of environments: each costs its episode, and several in a row end the work."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from typing import NoReturn, TypeVar

from qc_core.envs.time_limit import LIMITS
from qc_core.errors import RunError, TransientError
from qc_core.log import log
from qc_core.processes import how_ended, memory_remedy, ran_out_of_memory
from qc_core.worker_pool import WorkerKilled

# The environment, not chance, is the cause of as many failures without a complete episode between.
MAX_IN_A_ROW = 5
# Options that set the number of environments that trainings run at once.
FEWER_IN_TRAINING = (
    "--train.num-envs, --tune.trials-per-gpu, --tune.workers or QC_THREADS; on a cluster, raise "
    "--input resources_memory"
)

T = TypeVar("T")


class EnvironmentFailed(RunError):
    """An environment raised, exited, crashed, did not answer or returned something invalid."""


class EnvironmentKilled(EnvironmentFailed, TransientError):
    """The process of an environment was killed, usually because memory ran out."""


class EpisodeFailures:
    """Counts the episodes of an environment that failed.

    Args:
        fewer: options that set the number of environments at once, for the message if memory
            runs out.

    Attributes:
        count: episodes that failed.
    """

    def __init__(self, environment: str, fewer: str) -> None:
        self._environment, self._fewer = environment, fewer
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
            self.add(process_failure(killed.exit_code))
            return None
        self.completed()
        return result

    def give_up(self, episodes: str) -> NoReturn:
        """Raise EnvironmentFailed with the last cause.

        Args:
            episodes: that failed, for the message.

        Raises:
            EnvironmentKilled: the last cause is that memory ran out.
        """
        is_killed = isinstance(self._last, EnvironmentKilled)
        remedy = memory_remedy(self._fewer) if is_killed else "correct the environment"
        failure = EnvironmentKilled if is_killed else EnvironmentFailed
        raise failure(
            f"{self._environment} failed in {episodes}, last: {self._last}; {remedy}"
        ) from self._last


def process_failure(exit_code: int | None) -> EnvironmentFailed:
    """Return the error of an environment whose process has ended."""
    if exit_code == -signal.SIGALRM:
        return EnvironmentFailed(f"the environment did not answer in time ({LIMITS})")
    failure = EnvironmentKilled if ran_out_of_memory(exit_code) else EnvironmentFailed
    return failure(f"the environment process {how_ended(exit_code)}")

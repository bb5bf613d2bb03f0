"""An environment in its own process that executes a chunk of actions at a time.

While it is running, the caller can do other work. If it raises, exits, crashes or hangs, the caller
gets an error and can start the next episode, in a new process. This module does not import torch.

Shapes: O observation, K actions to execute, A action.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import gymnasium
import numpy as np

from qc_core.envs.failures import EnvironmentFailed, process_failure
from qc_core.envs.make import make_environment
from qc_core.envs.model_memory import free_asset_cache
from qc_core.envs.time_limit import end_if_it_hangs
from qc_core.errors import DEBUG_VARIABLE, QCError
from qc_core.processes import exit_with_parent, main_guard_error, running, start_forked

# The simulator may have to finish a step before its process can end.
_GRACE_SECONDS = 3


class StepResult(NamedTuple):
    """The result of one step or of a reset.

    Attributes:
        terminated: whether the task ended with the step.
        ended: whether the episode ended with the step, by success or by time.
        observation_O: after the step, float32.
    """

    reward: float
    terminated: bool
    ended: bool
    observation_O: np.ndarray


class RemoteEnvironment:
    """An environment in its own process, which starts in the background and ends with this one."""

    def __init__(self, environment: str) -> None:
        self._id = environment
        self._start()

    def reset(self, seed: int) -> None:
        """Start an episode; `receive` then returns its first observation.

        If the environment has failed, a new process takes its place.
        """
        if self._has_failed:
            self.close()
            self._start()
        self._send(seed)

    def play(self, actions_KA: np.ndarray) -> None:
        """Execute actions open loop; `receive` then returns the result of each.

        If the episode ends, the remaining actions are dropped.
        """
        self._send(actions_KA)

    def receive(self) -> StepResult:
        """Wait for the next result and return it.

        Raises:
            UsageError: the environment cannot be made, or the script has no main guard.
            EnvironmentFailed: it raised, exited, crashed, did not answer or returned something
                invalid; the next call must be `reset`.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._has_failed = True
            self._process.join(_GRACE_SECONDS)
            code = self._process.exitcode
            raise main_guard_error(code) or process_failure(code) from None
        if isinstance(answer, QCError):
            self._has_failed = True
            raise answer
        reward, terminated, ended = answer[:3].tolist()
        return StepResult(reward, bool(terminated), bool(ended), answer[3:])

    def close(self) -> None:
        """Release the environment, even in the middle of a step."""
        self._connection.close()
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._connection, remote_end = Pipe()
        self._process: BaseProcess = start_forked(_serve, self._id, remote_end)
        # While this process holds the remote end, the end of the process would go unnoticed.
        remote_end.close()
        self._has_failed = False

    def _send(self, request: int | np.ndarray) -> None:
        # If the process has ended, `receive` raises the reason.
        with contextlib.suppress(ConnectionError):
            self._connection.send(request)


def _serve(environment: str, connection: Connection) -> None:
    exit_with_parent()
    end_if_it_hangs()
    # The process ends quietly when the caller closes the connection.
    with running(), contextlib.suppress(EOFError, ConnectionError):
        try:
            made = make_environment(environment)
            free_asset_cache()
            try:
                while True:
                    for packed in _execute(made, connection.recv()):
                        connection.send(packed)
            except EnvironmentFailed as failure:
                connection.send(failure)
            finally:
                _close(made)
        except QCError as error:
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exc()
            connection.send(error)


def _close(environment: gymnasium.Env) -> None:
    # The process ends: what a broken environment raises now does not matter.
    with contextlib.suppress(Exception, SystemExit):
        environment.close()


def _execute(environment: gymnasium.Env, request: int | np.ndarray) -> Iterator[np.ndarray]:
    """Reset with a seed, or execute actions until the episode ends; yields float32 [3 + O]."""
    if isinstance(request, int):
        observation, _ = environment.reset(seed=request)
        yield _packed(observation, 0.0, terminated=False, ended=False)
        return
    for action_A in request:
        observation, reward, terminated, truncated, _ = environment.step(action_A)
        ended = terminated or truncated
        yield _packed(observation, float(reward), terminated=terminated, ended=ended)
        if ended:
            return


def _packed(observation: np.ndarray, reward: float, *, terminated: bool, ended: bool) -> np.ndarray:
    packed = np.empty(3 + len(observation), np.float32)
    packed[:3] = reward, terminated, ended
    packed[3:] = observation
    return packed

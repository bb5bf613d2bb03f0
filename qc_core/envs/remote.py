"""Environments that execute a chunk of actions at a time, in this process or in their own.

Both kinds take the same requests and return the same results. While an environment in its own
process is running, the caller can do other work. This module does not import torch.

Shapes: O observation, K actions to execute, A action.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import gymnasium
import numpy as np

from qc_core.envs.make import make_environment
from qc_core.errors import DEBUG_VARIABLE, QCError, RunError, TransientError
from qc_core.processes import exit_with_parent, one_thread_each, running

# The simulator may have to finish a step before its process can end.
_GRACE_SECONDS = 3
_MAX_REASON_LENGTH = 200


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


class ChunkEnvironment(ABC):
    """An environment that takes a chunk of actions at once and returns the result of each."""

    def reset(self, seed: int) -> None:
        """Start an episode; `receive` then returns its first observation."""
        self._send(seed)

    def play(self, actions_KA: np.ndarray) -> None:
        """Execute actions open loop; `receive` then returns the result of each.

        If the episode ends, the remaining actions are dropped.
        """
        self._send(actions_KA)

    def receive(self) -> StepResult:
        """Wait for the next result and return it.

        Raises:
            UsageError: the environment cannot be made.
            RunError: the environment failed.
            TransientError: its process was killed.
        """
        packed = self._next()
        reward, terminated, ended = packed[:3].tolist()
        return StepResult(reward, bool(terminated), bool(ended), packed[3:])

    @abstractmethod
    def close(self) -> None:
        """Release the environment, even in the middle of a step."""

    @abstractmethod
    def _send(self, request: int | np.ndarray) -> None: ...

    @abstractmethod
    def _next(self) -> np.ndarray: ...


class LocalEnvironment(ChunkEnvironment):
    """Runs in this process; each step is executed when its result is requested."""

    def __init__(self, environment: str) -> None:
        self._environment = make_environment(environment)
        self._results: Iterator[np.ndarray] = iter(())

    def close(self) -> None:
        self._environment.close()

    def _send(self, request: int | np.ndarray) -> None:
        self._results = _execute(self._environment, request)

    def _next(self) -> np.ndarray:
        return next(self._results)


class RemoteEnvironment(ChunkEnvironment):
    """Runs in its own process, while the caller does other work.

    The process starts in the background and ends with this one.
    """

    def __init__(self, environment: str) -> None:
        self._id = environment
        context = get_context("spawn")
        self._connection, remote_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(environment, remote_end))
        with one_thread_each():
            self._process.start()
        # While this process holds the remote end, the end of the process would go unnoticed.
        remote_end.close()

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, request: int | np.ndarray) -> None:
        # If the process has ended, `receive` raises the reason.
        with contextlib.suppress(ConnectionError):
            self._connection.send(request)

    def _next(self) -> np.ndarray:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_GRACE_SECONDS)
            raise TransientError(
                f"the process of environment {self._id} ended with code "
                f"{self._process.exitcode}; a negative code is a signal, and -9 may mean that the "
                "machine ran out of memory"
            ) from None
        if isinstance(answer, QCError):
            raise answer
        return answer


def _execute(environment: gymnasium.Env, request: int | np.ndarray) -> Iterator[np.ndarray]:
    """Reset with a seed, or execute actions until the episode ends; yields float32 [3 + O]."""
    try:
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
    except QCError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_MAX_REASON_LENGTH]
        raise RunError(f"the environment failed ({type(error).__name__}): {reason}") from error


def _packed(observation: np.ndarray, reward: float, *, terminated: bool, ended: bool) -> np.ndarray:
    packed = np.empty(3 + len(observation), np.float32)
    packed[:3] = reward, terminated, ended
    packed[3:] = observation
    return packed


def _serve(environment: str, connection: Connection) -> None:
    exit_with_parent()
    # The process ends quietly when the caller closes the connection.
    with running(), contextlib.suppress(EOFError, ConnectionError):
        try:
            with contextlib.closing(make_environment(environment)) as made:
                while True:
                    for packed in _execute(made, connection.recv()):
                        connection.send(packed)
        except QCError as error:
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exc()
            connection.send(error)

"""An environment that is played a chunk at a time, here or in a process of its own.

What it is told and what happens then are the same in both; in a process of its own the caller can
do other work meanwhile. Nothing here needs torch.

Shapes: O observation, K actions to play, A action.
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

# For a step of the simulator that is under way.
_GRACE_SECONDS = 3
_LONGEST_REASON = 200


class Happened(NamedTuple):
    """What one step, or a reset, came to.

    Attributes:
        terminated: the task is over.
        ended: the episode's last step, by success or by time.
        observation_O: behind the step, float32.
    """

    reward: float
    terminated: bool
    ended: bool
    observation_O: np.ndarray


class ChunkEnvironment(ABC):
    """An environment that is told a whole chunk of actions and says what each of them did."""

    def reset(self, seed: int) -> None:
        """Begin an episode; `receive` then gives its first observation."""
        self._send(seed)

    def play(self, actions_KA: np.ndarray) -> None:
        """Play actions without looking; `receive` then gives what each of them did.

        Behind the end of the episode the rest is dropped.
        """
        self._send(actions_KA)

    def receive(self) -> Happened:
        """What happened next; waits for it.

        Raises:
            UsageError: the environment cannot be made.
            RunError: it failed.
            TransientError: its process was killed.
        """
        packed = self._next()
        reward, terminated, ended = packed[:3].tolist()
        return Happened(reward, bool(terminated), bool(ended), packed[3:])

    @abstractmethod
    def close(self) -> None:
        """Give the environment up, whatever it is at."""

    @abstractmethod
    def _send(self, told: int | np.ndarray) -> None: ...

    @abstractmethod
    def _next(self) -> np.ndarray: ...


class LocalEnvironment(ChunkEnvironment):
    """In this process: a step is taken when its outcome is asked for."""

    def __init__(self, environment: str) -> None:
        self._environment = make_environment(environment)
        self._happening: Iterator[np.ndarray] = iter(())

    def close(self) -> None:
        self._environment.close()

    def _send(self, told: int | np.ndarray) -> None:
        self._happening = _happen(self._environment, told)

    def _next(self) -> np.ndarray:
        return next(self._happening)


class RemoteEnvironment(ChunkEnvironment):
    """In a process of its own, which goes on while the caller does something else.

    The process comes up in the background; it ends with this one.
    """

    def __init__(self, environment: str) -> None:
        self._id = environment
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(environment, theirs))
        with one_thread_each():
            self._process.start()
        # Else the end of the process would not end the connection.
        theirs.close()

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, told: int | np.ndarray) -> None:
        # A process that has ended says in `receive` why.
        with contextlib.suppress(ConnectionError):
            self._connection.send(told)

    def _next(self) -> np.ndarray:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_GRACE_SECONDS)
            raise TransientError(
                f"the process of environment {self._id} ended with code "
                f"{self._process.exitcode}; a negative one is a signal, -9 perhaps for want of "
                "memory"
            ) from None
        if isinstance(answer, QCError):
            raise answer
        return answer


def _happen(environment: gymnasium.Env, told: int | np.ndarray) -> Iterator[np.ndarray]:
    """Reset with a seed, or play actions up to the episode's end; each outcome float32 [3 + O]."""
    try:
        if isinstance(told, int):
            observation, _ = environment.reset(seed=told)
            yield _packed(observation, 0.0, terminated=False, ended=False)
            return
        for action_A in told:
            observation, reward, terminated, truncated, _ = environment.step(action_A)
            ended = terminated or truncated
            yield _packed(observation, float(reward), terminated=terminated, ended=ended)
            if ended:
                return
    except QCError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise RunError(f"the environment failed ({type(error).__name__}): {reason}") from error


def _packed(observation: np.ndarray, reward: float, *, terminated: bool, ended: bool) -> np.ndarray:
    packed = np.empty(3 + len(observation), np.float32)
    packed[:3] = reward, terminated, ended
    packed[3:] = observation
    return packed


def _serve(environment: str, connection: Connection) -> None:
    exit_with_parent()
    # A caller that has closed the connection has no more use for this process.
    with running(), contextlib.suppress(EOFError, ConnectionError):
        try:
            with contextlib.closing(make_environment(environment)) as made:
                while True:
                    for packed in _happen(made, connection.recv()):
                        connection.send(packed)
        except QCError as error:
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exc()
            connection.send(error)

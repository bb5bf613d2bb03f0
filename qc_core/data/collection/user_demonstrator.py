"""Demonstrations of a user's own function, in any environment.

Shapes: O observation, A action.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from qc_core.data.collection.episode import as_episodes
from qc_core.data.dataset.dataset import Episodes
from qc_core.envs.make import make_environment
from qc_core.envs.numpy_seed import global_numpy_seed
from qc_core.envs.play import SUCCESS_KEYS, rollout
from qc_core.envs.recorder import EpisodeRecorder
from qc_core.errors import QCError, UsageError
from qc_core.policy_format.episode_result import EpisodeResult

_FURTHER_PARAMETERS = ("rng", "step", "info", "environment")
_MAX_REASON = 200


class Demonstration(NamedTuple):
    """One episode of a user's demonstrator.

    Attributes:
        clipped: actions that were outside the environment's bounds. The environment executed the
            nearest action within them, and that action is recorded.
    """

    episodes: Episodes
    result: EpisodeResult
    clipped: int


def load_demonstrator(reference: str) -> Callable[..., Any]:
    """Import the function that `module:function` names, which takes an observation.

    The returned function takes the observation and all further parameters by name, and passes on
    those that the user's function has.

    Raises:
        UsageError: it cannot be imported, or takes other parameters.
    """
    module, colon, name = reference.partition(":")
    if not colon or not module or not name:
        raise UsageError(
            f"--data.demonstrator must be module:function, such as my_robot.expert:act, "
            f"got {reference!r}"
        )
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--data.demonstrator {reference}: {error}; install the package "
            "(pip install -e FOLDER), or add its folder to PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise UsageError(f"--data.demonstrator {reference}: {error}") from error
    except Exception as error:
        raise UsageError(
            f"--data.demonstrator {reference}: {module} cannot be imported ({_one_line(error)})"
        ) from error
    passed = _parameters_of(function, reference)

    def act(observation_O: np.ndarray, **further: Any) -> Any:
        return function(observation_O, **{name: further[name] for name in passed})

    return act


def _parameters_of(function: Any, reference: str) -> tuple[str, ...]:
    """Return which of the further parameters a function has (UsageError: it takes others)."""
    if not callable(function):
        raise UsageError(f"--data.demonstrator {reference} must be a function, got {function!r}")
    parameters = list(inspect.signature(function).parameters.values())
    needed = [
        parameter.name
        for parameter in parameters[1:]
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in _FURTHER_PARAMETERS
    ]
    if not parameters or needed:
        raise UsageError(
            f"--data.demonstrator {reference} must take an observation, and may take "
            f"{', '.join(_FURTHER_PARAMETERS)}, got {inspect.signature(function)}"
        )
    names = {parameter.name for parameter in parameters[1:]}
    return tuple(name for name in _FURTHER_PARAMETERS if name in names)


@dataclass(frozen=True)
class UserDemonstrations:
    """Makes a collector of a user's demonstrations in the process that calls it.

    Attributes:
        demonstrator: `module:function`.
    """

    environment: str
    demonstrator: str

    def __call__(self) -> _UserCollector:
        return _UserCollector(self.environment, self.demonstrator)


class _UserCollector:
    """Plays the user's function in its own environment."""

    def __init__(self, environment: str, demonstrator: str) -> None:
        self._name = demonstrator
        self._function = load_demonstrator(demonstrator)
        self._recorder = _Recorder(make_environment(environment))

    def collect(self, seed: int) -> Demonstration:
        """Return the episode of a seed; it does not depend on earlier episodes.

        Raises:
            UsageError: the function failed or returned no action.
        """
        recorder = self._recorder
        action_space = recorder.action_space
        assert isinstance(action_space, gymnasium.spaces.Box)
        low_A, high_A = action_space.low, action_space.high
        rng = np.random.default_rng(seed)
        step = clipped = 0

        def act(observation_O: np.ndarray) -> np.ndarray:
            nonlocal step, clipped
            further = {
                "rng": rng,
                "step": step,
                "info": recorder.info,
                "environment": recorder.unwrapped,
            }
            try:
                action_A = np.asarray(self._function(observation_O, **further), np.float32)
            except QCError:
                raise
            except Exception as error:
                raise UsageError(
                    f"--data.demonstrator {self._name} failed in step {step} of the episode with "
                    f"seed {seed}: {_one_line(error)}"
                ) from error
            if action_A.shape != low_A.shape or not np.isfinite(action_A).all():
                raise UsageError(
                    f"--data.demonstrator {self._name} must return {low_A.size} finite numbers, "
                    f"got {action_A.tolist()} in step {step} of the episode with seed {seed}"
                )
            step += 1
            within_A = action_A.clip(low_A, high_A)
            clipped += int(not np.array_equal(within_A, action_A))
            return within_A

        with global_numpy_seed(seed):
            result = rollout(recorder, act, seed)
        episodes = replace(
            as_episodes(recorder.recording()), successes=np.array(recorder.successes)
        )
        return Demonstration(episodes, result, clipped)

    def close(self) -> None:
        self._recorder.close()


class _Recorder(EpisodeRecorder):
    """Also remembers `info` of the last reset or step, and which steps succeeded."""

    info: dict[str, Any]
    successes: list[bool]

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, self.info = super().reset(**options)
        self.successes = []
        return observation, self.info

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        result = super().step(action)
        self.info = result[-1]
        self.successes.append(any(bool(self.info.get(key, False)) for key in SUCCESS_KEYS))
        return result


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_MAX_REASON]}"

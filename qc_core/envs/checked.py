"""Checks what an environment returns, and limits how long it may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.control_interval import reported_interval
from qc_core.envs.failures import EnvironmentFailed
from qc_core.envs.time_limit import reset_limit, step_seconds_for, time_limit

# Larger numbers become infinite when they are stored.
_MAX = float(np.finfo(np.float32).max)
_MAX_REASON = 200


class CheckedEnvironment(gymnasium.Wrapper):
    """Raises EnvironmentFailed if the environment raises, exits or returns something invalid.

    Args:
        environment: its observations must be vectors.
        observation_names: for messages.
    """

    def __init__(self, environment: gymnasium.Env, observation_names: tuple[str, ...]) -> None:
        super().__init__(environment)
        self._names = observation_names
        self._step_seconds = step_seconds_for(reported_interval(environment))
        self._steps = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self._steps = 0
        with self._calling(), reset_limit(self._step_seconds):
            result = self.env.reset(**options)
        observation, _ = self._parts(result, 2)
        self._require_observation(observation)
        return result

    def step(self, action: Any) -> tuple[Any, ...]:
        self._steps += 1
        with self._calling(), time_limit(self._step_seconds):
            result = self.env.step(action)
        observation, reward, *ends, _ = self._parts(result, 5)
        self._require_observation(observation)
        self._require_reward(reward)
        for name, value in zip(("terminated", "truncated"), ends, strict=True):
            if not isinstance(value, bool | np.bool_):
                raise self._invalid(f"{name} must be True or False", value)
        return result

    def close(self) -> None:
        with reset_limit(self._step_seconds):
            super().close()

    @property
    def _call(self) -> str:
        return f"step {self._steps}" if self._steps else "reset"

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Turn what the environment raises into EnvironmentFailed."""
        try:
            yield
        except SystemExit as error:
            raise EnvironmentFailed(
                f"the environment exited in {self._call} (SystemExit: {error.code})"
            ) from error
        except Exception as error:
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise EnvironmentFailed(
                f"the environment raised {type(error).__name__} in {self._call}: {reason}"
            ) from error

    def _parts(self, result: Any, count: int) -> tuple[Any, ...]:
        if not isinstance(result, tuple) or len(result) != count:
            raise self._invalid(f"it must return {count} values", result)
        if not isinstance(result[-1], Mapping):
            raise self._invalid("info must be a dictionary", result[-1])
        return result

    def _require_observation(self, observation: Any) -> None:
        values, size = _numbers(observation), len(self._names)
        if values is None:
            raise self._invalid("observations must be arrays of numbers", observation)
        if values.shape != (size,):
            raise EnvironmentFailed(
                f"the environment gave observations of shape {list(values.shape)} in {self._call}, "
                f"its observation space has {size} numbers"
            )
        within = np.abs(values) <= _MAX
        if not within.all():
            first = int(np.argmin(within))
            raise EnvironmentFailed(
                f"the environment gave an observation that is not finite in {self._call}: "
                f"{self._names[first]} is {values[first]}"
            )

    def _require_reward(self, reward: Any) -> None:
        if type(reward) is float and abs(reward) <= _MAX:
            return
        value = _numbers(reward)
        if value is None or value.ndim or not np.abs(value) <= _MAX:
            raise self._invalid("rewards must be finite numbers", reward)

    def _invalid(self, rule: str, value: Any) -> EnvironmentFailed:
        shown = " ".join(repr(value).split())[:_MAX_REASON]
        return EnvironmentFailed(f"the environment's {self._call} is invalid: {rule}, got {shown}")


def _numbers(value: Any) -> np.ndarray | None:
    """Return an array of real numbers, or None for anything else."""
    with contextlib.suppress(Exception):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
    return None

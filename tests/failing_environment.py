"""The quick environment with steps that fail as real environments do."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.variants import with_settings
from tests.quick_environment import Quick

FAULTS = {
    "raises": "raised ValueError in step 3: the motor is off",
    "exits": r"exited in step 3 \(SystemExit: 7\)",
    "leaves": "process ended with exit code 7",
    "crashes": r"process was killed by signal 11 \(SIGSEGV\)",
    "hangs": "did not answer in time",
    "observation": "not finite in step 3: observation_0 is nan",
    "shape": r"observations of shape \[3\] in step 3, its observation space has 28 numbers",
    "dtype": "step 3 is invalid: observations must be arrays of numbers",
    "reward": "step 3 is invalid: rewards must be finite numbers, got nan",
    "done": "step 3 is invalid: terminated must be True or False, got 'no'",
    "tuple": "raised ValueError in step 3: not enough values to unpack",
}


def failing(fault: str, times: int, count_in: Path) -> str:
    """Return the id of an environment whose third step fails in its first episodes.

    Args:
        fault: one of `FAULTS`, or "runs out of memory".
        times: number of episodes that fail.
        count_in: a folder in which the failures are counted, across processes.
    """
    settings = {"fault": fault, "times": times, "count_in": str(count_in)}
    return with_settings(f"{__name__}:Failing-v0", settings)


class Failing(Quick):
    """Fails in its third step until it has failed often enough."""

    def __init__(self, fault: str, times: int, count_in: str) -> None:
        super().__init__()
        self._fault, self._times, self._folder = fault, times, Path(count_in)
        self._steps = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self._steps = 0
        return super().reset(**options)

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        self._steps += 1
        result = super().step(action)
        failed = len(list(self._folder.iterdir()))
        if self._steps != 3 or failed >= self._times:
            return result
        (self._folder / str(failed)).touch()
        return self._fail(*result)

    def _fail(self, observation: np.ndarray, reward: float, *rest: Any) -> tuple[Any, ...]:
        match self._fault:
            case "raises":
                raise ValueError("the motor\nis off")
            case "exits":
                sys.exit(7)
            case "leaves":
                os._exit(7)
            case "runs out of memory":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hangs":
                while True:
                    time.sleep(1000)
            case "observation":
                return np.full(28, np.nan), reward, *rest
            case "shape":
                return observation[:3], reward, *rest
            case "dtype":
                return observation.astype(str), reward, *rest
            case "reward":
                return observation, np.nan, *rest
            case "done":
                return observation, reward, "no", *rest[1:]
        return observation, reward


gymnasium.register("Failing-v0", f"{__name__}:Failing", max_episode_steps=8)

"""A trial episode shows before a run whether an environment can be played, scored and filmed."""

import os
import signal
from typing import Any

import gymnasium
import numpy as np
import pytest

from qc_core.envs.check import check_environment
from qc_core.envs.failures import EnvironmentKilled
from qc_core.envs.variants import with_settings
from qc_core.errors import UsageError
from tests.conftest import PENDULUM


def test_an_environment_is_described_with_its_limits() -> None:
    pendulum = check_environment(PENDULUM)
    assert (pendulum.reports_success, pendulum.renders, pendulum.repeats) == (False, True, True)
    assert pendulum.notes == [
        "Pendulum-v1: 3 observations, 1 actions, 0.05 s per step (dt), at most 200 steps",
        "Pendulum-v1 has no success signal (info['success']): policies are compared by their "
        "return",
    ]


class Faulty(gymnasium.Env):
    """An environment of one number whose `fault` is set by the test."""

    dt = 0.1

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        first = np.random.rand() if self.fault == "unseeded" else 0
        return np.full(2 if self.fault == "size" else 1, first), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.fault == "raises":
            raise ValueError("the motor\nis off")
        if self.fault == "memory":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "crashes":
            os.abort()
        observation = np.full(1, np.nan if self.fault == "nan" else 0.5)
        reward: Any = {"reward": np.inf, "column": np.ones(1)}.get(self.fault, 1.0)
        # Success is reported only at the end.
        return observation, reward, True, False, {"success": True}


gymnasium.register("Faulty-v0", f"{__name__}:Faulty", max_episode_steps=5)


def faulty(fault: str) -> str:
    return with_settings(f"{__name__}:Faulty-v0", {"fault": fault})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("size", r"observations of shape \[2\] in reset, its observation space has 1 numbers"),
        ("nan", "not finite in step 1: observation_0 is nan"),
        ("reward", "rewards must be finite numbers, got inf"),
        ("column", r"rewards must be finite numbers, got array\(\[1\.\]\)"),
        ("raises", r"cannot be played: .* raised ValueError in step 1: the motor is off; correct"),
        ("crashes", r"cannot be played: the environment process was killed by signal 6"),
    ],
)
def test_environments_that_cannot_be_played_are_refused(fault: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_environment(faulty(fault))


def test_an_environment_that_memory_kills_is_not_refused() -> None:
    with pytest.raises(EnvironmentKilled, match=r"SIGKILL.*; give it more memory$") as error:
        check_environment(faulty("memory"))
    assert error.value.exit_code == 1


def test_limits_that_a_run_can_live_with_are_noted() -> None:
    checked = check_environment(faulty("unseeded"))
    assert (checked.reports_success, checked.renders, checked.repeats) == (True, False, False)
    assert "there will be no video" in checked.notes[1]
    assert "different episodes for the same seed" in checked.notes[2]

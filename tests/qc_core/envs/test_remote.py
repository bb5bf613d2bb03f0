"""An environment in its own process gives the same results, and errors are one line."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qc_core.envs.failures import EnvironmentFailed
from qc_core.envs.make import make_environment
from qc_core.envs.remote import RemoteEnvironment
from qc_core.errors import UsageError
from tests.conftest import PENDULUM
from tests.test_imports import run_blocked

LIMIT = 200


@pytest.fixture
def environment() -> Iterator[RemoteEnvironment]:
    made = RemoteEnvironment(PENDULUM)
    yield made
    made.close()
    assert not multiprocessing.active_children()


def test_step_results_match_the_environment(environment: RemoteEnvironment) -> None:
    actions = np.random.default_rng(0).uniform(-2, 2, (5, 1)).astype(np.float32)
    alone = make_environment(PENDULUM)
    environment.reset(3)
    first, _ = alone.reset(seed=3)
    np.testing.assert_array_equal(environment.receive().observation_O, first)
    environment.play(actions)
    for action in actions:
        observation, reward, _, _, _ = alone.step(action)
        happened = environment.receive()
        np.testing.assert_array_equal(happened.observation_O, observation.astype(np.float32))
        assert happened.reward == np.float32(reward)
        assert (happened.terminated, happened.ended) == (False, False)


def test_actions_after_the_end_of_an_episode_are_dropped(
    environment: RemoteEnvironment,
) -> None:
    environment.reset(0)
    environment.receive()
    environment.play(np.zeros((LIMIT + 3, 1), np.float32))
    ends = [environment.receive().ended for _ in range(LIMIT)]
    assert ends == [False] * (LIMIT - 1) + [True]
    environment.reset(5)
    first, _ = make_environment(PENDULUM).reset(seed=5)
    np.testing.assert_array_equal(environment.receive().observation_O, first)


def test_a_failing_environment_gives_one_line(environment: RemoteEnvironment) -> None:
    environment.reset(0)
    environment.receive()
    environment.play(np.zeros((1, 0), np.float32))
    with pytest.raises(EnvironmentFailed, match="raised IndexError in step 1") as failure:
        environment.receive()
    assert "\n" not in str(failure.value)


def test_an_environment_that_cannot_be_made_gives_the_reason() -> None:
    remote = RemoteEnvironment("no-such-v0")
    with pytest.raises(UsageError, match="unknown environment 'no-such-v0'"):
        remote.receive()
    remote.close()
    assert not multiprocessing.active_children()


def test_a_killed_environment_process_is_reported() -> None:
    remote = RemoteEnvironment(PENDULUM)
    remote.reset(0)
    remote.receive()
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    remote.play(np.zeros((2, 1), np.float32))
    with pytest.raises(EnvironmentFailed, match=r"was killed by signal 9 \(SIGKILL\)") as failure:
        remote.receive()
    assert "\n" not in str(failure.value)
    remote.close()


KILLED = """
import multiprocessing, os, signal
from qc_core.envs.remote import RemoteEnvironment
from qc_core.worker_pool import worker_pool
if __name__ == "__main__":
    remote = RemoteEnvironment("Pendulum-v1")
    remote.reset(0)
    remote.receive()
    with worker_pool(1) as pool:
        pool.submit(abs, 1).result()
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_worker_processes_exit_when_their_caller_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    caller = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # An orphan would keep the output open.
        timeout=120,
    )
    assert caller.returncode == -signal.SIGKILL, caller.stderr
    left = [int(pid) for pid in caller.stdout.split()]
    assert len(left) == 2
    deadline = time.monotonic() + 60
    while any(map(is_running, left)):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether it is there, and not just waiting for someone to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_process_of_an_environment_needs_no_torch() -> None:
    run_blocked({"torch", "optuna", "kfp", "onnxruntime", "tyro"}, "import qc_core.envs.remote")

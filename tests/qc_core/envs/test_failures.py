"""An environment that fails costs one episode, and the report names the cause."""

import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest

from qc_core.envs.failures import MAX_IN_A_ROW, EnvironmentFailed
from qc_core.envs.play import play_episodes, play_side_by_side
from qc_core.envs.remote import RemoteEnvironment
from qc_core.errors import TransientError
from tests.failing_environment import FAULTS, failing

SEEDS = range(4)


class Resting:
    """A policy that does nothing."""

    noise_shape = (1,)
    execution_horizon = 2

    def __call__(self, _: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.zeros((1, 2, 5), np.float32)


@pytest.fixture(autouse=True)
def short_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_STEP_TIMEOUT", "3")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_step_costs_one_episode_of_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    environment = failing(fault, 1, tmp_path)
    played = play_episodes(environment, {"one": Resting, "two": Resting}, SEEDS)
    # The seed is left out for both policies.
    assert [result.seed for result in played["one"]] == [1, 2, 3]
    assert [result.seed for result in played["two"]] == [1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    (message,) = [line for line in lines if "the episode is lost (1 so far)" in line]
    assert re.search(FAULTS[fault], message)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("fault", FAULTS)
def test_an_environment_that_failed_is_replaced(tmp_path: Path, fault: str) -> None:
    remote = RemoteEnvironment(failing(fault, 1, tmp_path))
    remote.reset(0)
    first = remote.receive().observation_O
    remote.play(np.zeros((4, 5), np.float32))
    assert [remote.receive().ended for _ in range(2)] == [False, False]
    with pytest.raises(EnvironmentFailed, match=FAULTS[fault]):
        remote.receive()
    remote.reset(0)
    np.testing.assert_array_equal(remote.receive().observation_O, first)
    remote.play(np.zeros((9, 5), np.float32))
    assert [remote.receive().ended for _ in range(8)] == [False] * 7 + [True]
    remote.close()
    assert not multiprocessing.active_children()


def test_several_failures_in_a_row_end_the_work_with_their_cause(tmp_path: Path) -> None:
    environment = failing("crashes", MAX_IN_A_ROW, tmp_path)
    with pytest.raises(EnvironmentFailed, match=r"5 episodes in a row, .*SIGSEGV") as error:
        play_episodes(environment, {"policy": Resting}, range(20))
    assert "\n" not in str(error.value)


def test_an_environment_that_memory_kills_is_not_the_one_to_correct(tmp_path: Path) -> None:
    environment = failing("runs out of memory", MAX_IN_A_ROW, tmp_path)
    with pytest.raises(TransientError, match=r"5 episodes in a row, .*SIGKILL") as error:
        play_episodes(environment, {"policy": Resting}, range(20))
    message = str(error.value)
    assert "give it more memory, or lower --evaluate.workers" in message
    assert "correct the environment" not in message and error.value.exit_code == 1


def test_a_match_goes_on_without_a_seed_whose_environment_failed(tmp_path: Path) -> None:
    environment = failing("raises", 1, tmp_path)
    played = play_side_by_side(environment, {"one": Resting, "two": Resting}, SEEDS)
    assert [{name: result.seed for name, result in pair.items()} for pair in played] == [
        {"one": seed, "two": seed} for seed in (1, 2, 3)
    ]

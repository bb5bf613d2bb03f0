"""Episode results match the environment, for any number of processes."""

import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from qc_core.envs.episode_result import any_reports_success, format_score
from qc_core.envs.make import make_environment
from qc_core.envs.play import play_episode, play_episodes, play_side_by_side, rollout
from qc_core.errors import UsageError
from tests.conftest import PENDULUM
from tests.quick_environment import QUICK


class Wandering:
    """A policy of scaled noise."""

    noise_shape = (15,)
    execution_horizon = 3

    def __call__(self, _: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.clip(0.3 * noise, -1, 1).reshape(-1, 3, 5)


class Drifting(Wandering):
    """Moves far enough to solve some episodes of the quick environment."""

    def __call__(self, _: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.repeat(np.sign(noise[:, None, :5]), 3, axis=1)


class Scripted(gymnasium.Env):
    """Solves itself at step 4, or never."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (5,))

    def __init__(self, solvable: bool) -> None:
        self.solvable, self.step_count = solvable, 0

    def reset(self, *, seed=None, options=None):
        self.step_count = 0
        return np.zeros(2), {}

    def step(self, action):
        self.step_count += 1
        solved = self.solvable and self.step_count == 4
        return np.zeros(2), -1.0, solved, self.step_count == 6, {"success": solved}


def test_a_success_ends_the_episode_and_counts_its_steps() -> None:
    outcome = play_episode(Scripted(True), Wandering(), seed=0)
    assert (outcome.success, outcome.steps, outcome.episode_return) == (True, 4, -4.0)


def test_a_timeout_is_not_a_success() -> None:
    outcome = play_episode(Scripted(False), Wandering(), seed=0)
    assert (outcome.success, outcome.steps) == (False, 6)


def test_an_environment_without_a_success_signal_reports_none() -> None:
    environment = make_environment(PENDULUM)
    outcome = rollout(environment, lambda _: np.zeros(1, np.float32), seed=0)
    assert (outcome.success, outcome.reports_success) == (False, False)
    assert format_score([outcome]) == f"return {outcome.episode_return:.1f}"
    failure = play_episode(Scripted(False), Wandering(), seed=0)
    assert failure.reports_success and format_score([failure]) == "0%"
    assert any_reports_success([outcome, failure]) and not any_reports_success([outcome])


def test_every_frame_from_reset_to_end_can_be_recorded() -> None:
    frames: list[int] = []
    environment = Scripted(True)
    play_episode(
        environment, Wandering(), 0, on_frame=lambda: frames.append(environment.step_count)
    )
    assert frames == [0, 1, 2, 3, 4]


def test_results_are_in_seed_order_for_any_number_of_workers() -> None:
    seeds = [5, 3, 4]
    policies = {"one": Drifting, "two": Drifting}
    alone = play_episodes(QUICK, policies, seeds)
    assert len({outcome.steps for outcome in alone["one"]}) == len(seeds)
    assert play_episodes(QUICK, policies, seeds, workers=2) == alone
    assert alone["one"] == alone["two"]
    assert [outcome.seed for outcome in alone["one"]] == seeds
    environment = make_environment(QUICK)
    assert play_episode(environment, Drifting(), 4) == alone["one"][2]
    environment.close()


def test_side_by_side_gives_the_same_results_and_stops_when_closed() -> None:
    seeds = [5, 3, 4, 8, 9, 10, 11, 12]
    policies = {"one": Wandering, "two": Wandering}
    expected = play_episodes(PENDULUM, policies, seeds[:3])
    for workers in (1, 2):
        played = play_side_by_side(PENDULUM, policies, seeds, workers=workers)
        for index in range(3):
            assert next(played) == {name: expected[name][index] for name in policies}
        played.close()
    assert multiprocessing.active_children() == []
    assert len(list(play_side_by_side(PENDULUM, policies, seeds[:2]))) == 2


@dataclass(frozen=True)
class Counted(Wandering):
    """Notes in a file each time it is loaded."""

    file: Path

    def __call__(self, *arguments: Any) -> Any:
        if arguments:
            return super().__call__(*arguments)
        with self.file.open("a") as file:
            file.write("loaded\n")
        return self


def test_two_alternating_policies_are_loaded_once_each(tmp_path: Path) -> None:
    policies = {name: Counted(tmp_path / "loads") for name in ("one", "two")}
    list(play_side_by_side(PENDULUM, policies, [1, 2, 3]))
    assert len((tmp_path / "loads").read_text().splitlines()) == 2


def test_an_environment_that_no_worker_can_make_gives_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="unknown environment 'no-such-v0'"):
            play_episodes("no-such-v0", {"policy": Wandering}, range(6), workers=2)
        assert "Traceback" not in capfd.readouterr().err
    assert not multiprocessing.active_children()

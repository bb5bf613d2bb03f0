"""Trajectories contain the played actions and positions in metres."""

import numpy as np
import pytest

from qc_core.envs.make import make_environment
from qc_core.envs.play import play_episode
from qc_core.envs.trajectory import record_trajectories, record_trajectory
from tests.conftest import ENVIRONMENT
from tests.qc_core.envs.test_play import Scripted, Wandering

POINT_MAZE = "pointmaze-medium-singletask-task1-v0"


class WanderingPoint:
    noise_shape = (2,)
    execution_horizon = 1

    def __call__(self, _: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.clip(noise, -1, 1).reshape(-1, 1, 2)


def test_effector_positions_match_the_observation_in_metres() -> None:
    environment = make_environment(ENVIRONMENT)
    played = record_trajectory(environment, Wandering(), 3, steps=7)
    environment.close()
    assert played.observations_TO.shape == (8, 28)
    assert played.actions_TA.shape == (7, 5)
    assert played.landmark is not None and played.landmark.name == "end effector"
    # The observation's effector position is centred at x = 0.425 m and scaled by 10.
    in_metres = played.observations_TO[:, 12:15] / 10 + [0.425, 0, 0]
    np.testing.assert_allclose(played.positions_TX, in_metres, atol=1e-7)


def test_a_maze_records_the_position_of_the_body() -> None:
    environment = make_environment(POINT_MAZE)
    played = record_trajectory(environment, WanderingPoint(), 0, steps=5)
    environment.close()
    assert played.landmark is not None and played.landmark.name == "body"
    np.testing.assert_allclose(played.positions_TX, played.observations_TO)


def test_an_environment_without_a_position_has_no_landmark() -> None:
    played = record_trajectory(Scripted(True), Wandering(), 0, steps=10)
    assert (played.landmark, played.positions_TX.shape, played.steps) == (None, (5, 0), 4)


def test_recorded_actions_match_an_unrecorded_episode() -> None:
    seen: list[np.ndarray] = []

    class Watched(Scripted):
        def step(self, action):
            seen.append(action)
            return super().step(action)

    play_episode(Watched(False), Wandering(), seed=9)
    usual = np.stack(seen)
    played = record_trajectory(Scripted(False), Wandering(), 9, steps=100)
    np.testing.assert_array_equal(played.actions_TA, usual)


@pytest.mark.parametrize("workers", [1, 2])
def test_trajectories_are_in_seed_order_for_any_number_of_workers(workers: int) -> None:
    policies = {"one": Wandering, "two": Wandering}
    played = record_trajectories(ENVIRONMENT, policies, [5, 4], steps=3, workers=workers)
    environment = make_environment(ENVIRONMENT)
    for name in policies:
        for seed, episode in zip([5, 4], played[name], strict=True):
            alone = record_trajectory(environment, Wandering(), seed, steps=3)
            np.testing.assert_array_equal(episode.observations_TO, alone.observations_TO)
            np.testing.assert_array_equal(episode.positions_TX, alone.positions_TX)
    environment.close()

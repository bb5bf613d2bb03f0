"""The recorder returns what the environment and the policy returned, step by step."""

from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.recorder import EpisodeRecorder


class Counting(gymnasium.Env[np.ndarray, np.ndarray]):
    """Counts its steps in one array that it reuses; the task ends in the third step."""

    observation_space = gymnasium.spaces.Box(0, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self) -> None:
        self.count = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None):
        self.count[:] = 0
        return self.count, {"qpos": self.count, "other": 0}

    def step(self, action: np.ndarray):
        self.count += 1
        return self.count, -1.0, self.count[0] == 3, False, {"qpos": self.count, "other": 0}


def test_a_recording_contains_every_step_since_the_last_reset() -> None:
    environment = Counting()
    recorder = EpisodeRecorder(
        environment,
        info_entries=("qpos", "button_states"),
        position=lambda: 10 * environment.count[:1],
    )
    recorder.reset()
    recorder.step(np.zeros(1, np.float32))
    recorder.reset()
    actions = np.array([[0.1], [0.2], [0.3]], np.float32)
    for action in actions:
        recorder.step(action)
    recording = recorder.recording()
    np.testing.assert_array_equal(recording.observations_TO, np.arange(4)[:, None] * [1.0, 1.0])
    np.testing.assert_array_equal(recording.actions_TA, actions)
    assert recording.actions_TA.dtype == np.float32
    assert recording.rewards_T.tolist() == [-1, -1, -1]
    assert recording.terminated_T.tolist() == [False, False, True]
    assert list(recording.info) == ["qpos"]
    np.testing.assert_array_equal(recording.info["qpos"], recording.observations_TO)
    assert recording.positions_TX.tolist() == [[0], [10], [20], [30]]


def test_a_recording_without_a_position_has_no_coordinates() -> None:
    recorder = EpisodeRecorder(Counting())
    recorder.reset()
    recorder.step(np.zeros(1))
    recording = recorder.recording()
    assert recording.positions_TX.shape == (2, 0)
    assert recording.info == {}

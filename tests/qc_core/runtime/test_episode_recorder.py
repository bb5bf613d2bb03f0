"""What a robot records is what `qc ingest` reads, and invalid steps are not lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.errors import UsageError
from qc_core.runtime import EpisodeRecorder
from tests.qc_core.data.reading import read_all

ARM: dict[str, Any] = {
    "environment": "robot/arm",
    "control_interval": 0.05,
    "action_low": [-2, -1],
    "action_high": [2, 1],
    "action_names": ["lift", "grip"],
}


def record(recorder: EpisodeRecorder, steps: int, seed: int = 0, **last: Any) -> None:
    """One episode of random numbers; `last` describes its last step."""
    rng = np.random.default_rng(seed)
    recorder.reset(rng.normal(size=3))
    for step in range(steps):
        further = last if step == steps - 1 else {}
        recorder.step(rng.uniform(-1, 1, 2), rng.normal(size=3), **{"reward": -1.0, **further})


def test_recorded_episodes_are_read_step_by_step(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "played.npz"
    with EpisodeRecorder(path, **ARM) as recorder:
        record(recorder, 3, seed=1, terminated=True, reward=0.0, success=True)
        record(recorder, 2, seed=2, truncated=True)
        # The program ends before this episode does.
        record(recorder, 4, seed=3)
    data = replace(config.data, source=(str(path),))
    info = read_all(replace(config, environment="robot/arm", data=data), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    assert dataset.rewards.tolist() == [-1, -1, 0, *[-1] * 6]
    assert np.flatnonzero(dataset.terminals).tolist() == [2, 4, 8]
    assert np.flatnonzero(dataset.masks == 0).tolist() == [2]
    assert (info.episodes, info.solved_episodes) == (3, 1)
    # The observation after the last step is recorded too.
    rng = np.random.default_rng(1)
    observations = [rng.normal(size=3)]
    for _ in range(3):
        rng.uniform(-1, 1, 2)
        observations.append(rng.normal(size=3))
    np.testing.assert_array_equal(dataset.observations[:4], np.array(observations, np.float32))
    spec = dataset.spec
    assert (spec.action_names, spec.action_low, spec.control_interval) == (
        ("lift", "grip"),
        (-2, -1),
        0.05,
    )


def test_the_contract_of_a_policy_describes_the_robot(tmp_path: Path, policy: Path) -> None:
    from qc_core.policy_format.policy_folder import read_contract

    contract = read_contract(policy)
    path = tmp_path / "played.npz"
    with EpisodeRecorder(path, contract=contract) as recorder:
        recorder.reset(np.zeros(28))
        recorder.step(np.zeros(5), np.ones(28), 0.0)
    arrays = np.load(path)
    assert str(arrays["environment"]) == contract.environment
    assert arrays["action_low"].tolist() == list(contract.action.low)
    assert arrays["control_interval"] == contract.control_interval_seconds
    assert arrays["timeouts"].tolist() == [True]


@pytest.mark.parametrize(
    ("action", "observation", "message"),
    [
        ([0, 5], [0, 0, 0], "action 1 is 5 in step 3, its bounds are -1 to 1"),
        ([0, np.nan], [0, 0, 0], "actions holds NaN or infinity in step 3"),
        ([0, 0], [0, np.inf, 0], "next_observations holds NaN or infinity in step 3"),
        ([0, 0, 0], [0, 0, 0], r"actions must be vectors of one size, got \[3\] in step 3"),
        ([0, 0], [0, 0], r"next_observations must be vectors of one size, got \[2\] in step 3"),
    ],
)
def test_invalid_steps_are_refused_on_close_and_not_lost(
    tmp_path: Path, action: Any, observation: Any, message: str
) -> None:
    path = tmp_path / "played.npz"
    recorder = EpisodeRecorder(path, **ARM)
    record(recorder, 3)
    recorder.step(action, observation, 7.0)
    with pytest.raises(UsageError, match=rf"{message}.*: the steps are in .*invalid\.npz"):
        recorder.close()
    recorder.close()
    assert not path.exists()
    assert np.load(tmp_path / "played.invalid.npz")["rewards"].tolist() == [-1, -1, -1, 7]


def test_episodes_are_written_if_the_program_fails(tmp_path: Path) -> None:
    path = tmp_path / "played.npz"
    with pytest.raises(RuntimeError, match="the arm is stuck"), EpisodeRecorder(path) as recorder:
        record(recorder, 2)
        raise RuntimeError("the arm is stuck")
    assert len(np.load(path)["actions"]) == 2


def test_a_missing_reward_is_refused_and_not_replaced(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path / "played.npz")
    record(recorder, 2)
    recorder.step([0, 0], [0, 0, 0])
    with pytest.raises(UsageError, match="the reward is missing in step 2, but not in all steps"):
        recorder.close()
    rewards = np.load(tmp_path / "played.invalid.npz")["rewards"]
    assert rewards[:2].tolist() == [-1, -1] and np.isnan(rewards[2])


def test_a_reset_without_steps_changes_no_earlier_episode(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path / "played.npz") as recorder:
        record(recorder, 2, terminated=True)
        recorder.reset(np.zeros(3))
        recorder.reset(np.zeros(3))
    arrays = np.load(tmp_path / "played.npz")
    assert arrays["terminals"].tolist() == [False, True]
    assert arrays["timeouts"].tolist() == [False, False]


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "played.npz"
    recorder = EpisodeRecorder(path)
    with pytest.raises(UsageError, match=r"call reset\(observation\)"):
        recorder.step([0], [0], 0)
    with pytest.raises(UsageError, match="no step was recorded"):
        recorder.close()
    path.touch()
    with pytest.raises(UsageError, match="is in use"):
        EpisodeRecorder(path)

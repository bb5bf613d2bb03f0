"""robomimic's form is read as a robot's recording: any keys, any task, no simulator."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.describe import describe_source
from qc_core.errors import UsageError
from tests.qc_core.data.reading import read_all

ROBOT = "robot/own"
LENGTHS = {0: 3, 1: 4, 10: 2}
ENV_ARGS = {"env_name": "StackBowls", "type": 4, "env_kwargs": {"control_freq": 20}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three demonstrations of a robot; the first and the third reach the goal."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "own.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(ENV_ARGS)
        for number, rows in LENGTHS.items():
            demo = data.create_group(f"demo_{number}")
            demo["obs/joints"] = rng.normal(size=(rows, 2))
            demo["obs/gripper"] = rng.uniform(size=rows)
            demo["obs/wrist_image"] = np.zeros((rows, 4, 4, 3), np.uint8)
            demo["actions"] = rng.uniform(-2, 2, (rows, 3))
            demo["rewards"] = 1.0 * (np.arange(rows) == rows - 1) * (number != 1)
            demo["dones"] = (np.arange(rows) == rows - 1).astype(int)
        file["mask/good"] = np.array([b"demo_0", b"demo_10"])
    return tmp_path / "own.hdf5"


def configured(config: Config, path: Path, **data: Any) -> Config:
    return replace(
        config, environment=ROBOT, data=replace(config.data, source=(str(path),), **data)
    )


def test_all_vectors_of_a_demonstration_are_read(
    tmp_path: Path, path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    info = read_all(configured(config, path), tmp_path / "dataset")
    assert "not read (not vectors, or not chosen): wrist_image" in capsys.readouterr().err
    dataset = open_dataset(tmp_path / "dataset")
    spec = dataset.spec
    assert spec.observation_names == ("gripper_0", "joints_0", "joints_1")
    assert spec.action_names == ("action_0", "action_1", "action_2")
    assert (spec.id, spec.control_interval, spec.episode_limit) == (ROBOT, 0.05, 4)
    assert (info.episodes, info.solved_episodes) == (3, 2)
    np.testing.assert_array_equal(np.flatnonzero(dataset.terminals), [2, 6, 8])
    # The second one fails, so that only its recording ends.
    np.testing.assert_array_equal(np.flatnonzero(dataset.masks == 0), [2, 8])
    with h5py.File(path) as file:
        groups: list[Any] = [file[f"data/demo_{number}"] for number in LENGTHS]
        actions = np.concatenate([group["actions"][()] for group in groups])
        joints = np.concatenate([group["obs/joints"][()] for group in groups])
    np.testing.assert_array_equal(dataset.actions, actions.astype("f4"))
    np.testing.assert_array_equal(
        dataset.observations[dataset.observation_index][:, 1:], joints.astype("f4")
    )


def test_columns_and_demonstrations_can_be_chosen(
    tmp_path: Path, path: Path, config: Config
) -> None:
    chosen = configured(config, path, observation=("joints",), filter="good")
    read_all(chosen, tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    assert dataset.spec.observation_names == ("observation_0", "observation_1")
    assert dataset.transitions == 5 and dataset.source.filter == "good"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("obs/joints", np.zeros((2, 2)), r"gripper, joints must have equally many rows"),
        ("obs/joints", np.zeros((3, 4)), r"must have shape \[rows, 2\], got \[3, 4\]"),
        ("rewards", np.zeros(2), "rewards must have 3 rows, as actions have"),
        ("actions", np.zeros((0, 3)), "has no steps: delete it"),
    ],
)
def test_demonstrations_that_differ_are_refused(
    tmp_path: Path, path: Path, config: Config, name: str, values: np.ndarray, message: str
) -> None:
    # The sizes are those of the first demonstration.
    with h5py.File(path, "r+") as file:
        file.move("data/demo_0", "data/demo_5")
        del file[f"data/demo_5/{name}"]
        file[f"data/demo_5/{name}"] = values
    with pytest.raises(UsageError, match=message):
        read_all(configured(config, path), tmp_path / "dataset")


def test_wrong_options_are_refused_with_what_the_file_has(
    tmp_path: Path, path: Path, config: Config
) -> None:
    with pytest.raises(UsageError, match=r"no vector 'tip'; it has gripper \[1\], joints \[2\]"):
        read_all(configured(config, path, observation=("tip",)), tmp_path / "dataset")
    slower = replace(configured(config, path), control_interval=0.1)
    with pytest.raises(UsageError, match=r"states 0\.05 s \(control_freq 20\)"):
        read_all(slower, tmp_path / "dataset")
    with pytest.raises(UsageError, match=r"'StackBowls' is unknown.*--environment robot/NAME"):
        describe_source(str(path))
    assert describe_source(str(path), environment=ROBOT).transitions == 9

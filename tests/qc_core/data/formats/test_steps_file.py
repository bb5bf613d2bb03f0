"""Own npz files with rewards and D4RL's HDF5 files are read step by step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.describe import describe_source
from qc_core.data.formats import steps_file
from qc_core.data.ingest import ingest
from qc_core.errors import UsageError
from tests.conftest import PENDULUM
from tests.qc_core.data.reading import read_all

Arrays = dict[str, Any]
Ingested = Callable[..., Dataset]
ROBOT = "robot/arm"
# The first episode is terminated, the second ends by time, the third with the file.
TERMINALS, TIMEOUTS = np.arange(12) == 3, np.arange(12) == 6


def arrays(**more: Any) -> Arrays:
    rng = np.random.default_rng(0)
    made = {
        "observations": rng.normal(size=(12, 3)),
        "actions": rng.uniform(-2, 2, (12, 1)),
        "rewards": rng.normal(size=12),
        "terminals": TERMINALS,
        "timeouts": TIMEOUTS,
    }
    return {k: v for k, v in {**made, **more}.items() if v is not None}


def with_source(config: Config, path: Path, environment: str = PENDULUM, **data: Any) -> Config:
    chosen = replace(config.data, source=(str(path),), **data)
    return replace(config, environment=environment, data=chosen)


def write_hdf5(path: Path, content: Arrays) -> None:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values


@pytest.fixture
def ingested(tmp_path: Path, config: Config) -> Ingested:
    def made(content: Arrays, environment: str = PENDULUM, **data: Any) -> Dataset:
        np.savez(tmp_path / "own.npz", **content)
        ingest(with_source(config, tmp_path / "own.npz", environment, **data), tmp_path / "dataset")
        return open_dataset(tmp_path / "dataset", verify=True)

    return made


@pytest.mark.parametrize("block_rows", [2, 5, 100])
@pytest.mark.parametrize("kind", ["npz", "hdf5", "d4rl"])
def test_every_row_is_a_step_with_its_reward(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, kind: str, block_rows: int
) -> None:
    monkeypatch.setattr(steps_file, "_BLOCK_ROWS", block_rows)
    content = arrays()
    path = tmp_path / f"own.{'npz' if kind == 'npz' else 'hdf5'}"
    if kind == "npz":
        np.savez_compressed(path, **content)
    else:
        # D4RL's files also have the simulator's state and how the data were made.
        more = {"infos/qpos": np.zeros((12, 2)), "metadata/algorithm": "SAC"}
        write_hdf5(path, content | (more if kind == "d4rl" else {}))
    ingest(with_source(config, path), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset", verify=True)
    np.testing.assert_array_equal(dataset.actions, np.float32(content["actions"]))
    np.testing.assert_array_equal(dataset.rewards, np.float32(content["rewards"]))
    assert np.flatnonzero(dataset.terminals).tolist() == [3, 6, 11]
    assert np.flatnonzero(dataset.masks == 0).tolist() == [3]
    starts = dataset.observations[dataset.observation_index]
    np.testing.assert_array_equal(starts, np.float32(content["observations"]))
    # The observation after a last step is not recorded: the last one is repeated.
    after = dataset.observations[dataset.observation_index + 1]
    np.testing.assert_array_equal(after[[3, 6, 11]], starts[[3, 6, 11]])
    assert dataset.spec.id == PENDULUM
    assert describe_source(str(path)).transitions == 12


def test_recorded_next_observations_of_last_steps_are_read(ingested: Ingested) -> None:
    content = arrays()
    following = np.roll(content["observations"], -1, axis=0)
    following[[3, 6, 11]] = 7
    dataset = ingested(content | {"next_observations": following})
    after = dataset.observations[dataset.observation_index + 1]
    np.testing.assert_array_equal(after, np.float32(following))


def test_rows_that_do_not_follow_each_other_are_refused(ingested: Ingested) -> None:
    content = arrays()
    shuffled = np.random.default_rng(1).permutation(content["observations"])
    with pytest.raises(
        UsageError, match=r"must be the observation of the next row .*% of the rows it is not"
    ):
        ingested(content | {"next_observations": shuffled})


@pytest.mark.parametrize(
    ("more", "ended"),
    [
        # Masks decide; terminals then only mark ends.
        ({"masks": np.arange(12) != 1, "terminals": TERMINALS | TIMEOUTS}, [1]),
        ({"terminals": TERMINALS[:, None], "timeouts": TIMEOUTS[:, None].astype("f8")}, [3]),
        ({"terminals": None, "dones": TERMINALS | TIMEOUTS}, [3]),
        ({"terminals": None, "timeouts": TERMINALS | TIMEOUTS}, []),
        ({"terminals": None, "timeouts": TERMINALS | TIMEOUTS, "rewards": 1.0 * TERMINALS}, [3]),
        ({"terminals": None, "dones": TERMINALS, "rewards": (TERMINALS - 1.0)[:, None]}, [3]),
        (
            {
                "terminals": None,
                "timeouts": None,
                "episode_index": np.repeat([5, 2, 9], [4, 3, 5]),
                "rewards": 1.0 * TERMINALS,
            },
            [3],
        ),
    ],
)
def test_ends_and_flags_may_be_recorded_in_several_forms(
    ingested: Ingested, more: Arrays, ended: list[int]
) -> None:
    dataset = ingested(arrays(**more))
    assert np.flatnonzero(dataset.terminals).tolist() == [3, 6, 11]
    assert np.flatnonzero(dataset.masks == 0).tolist() == ended


def test_success_alone_is_the_reward(ingested: Ingested) -> None:
    dataset = ingested(arrays(rewards=None, terminals=None, success=TERMINALS))
    np.testing.assert_array_equal(dataset.rewards, TERMINALS)
    np.testing.assert_array_equal(dataset.masks, ~TERMINALS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_fortran_order_and_of_other_types_are_read(
    tmp_path: Path, config: Config, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_file, "_BLOCK_ROWS", 5)
    content = arrays(rewards=np.arange(12), actions=np.zeros((12, 1), ">f4"))
    digests = []
    for name, order in (("c", "C"), ("fortran", "F")):
        values = np.array(content["observations"], order=order)  # pyright: ignore
        save(tmp_path / f"{name}.npz", **{**content, "observations": values})
        data = with_source(config, tmp_path / f"{name}.npz")
        digests.append(ingest(data, tmp_path / name).digest)
    assert digests[0] == digests[1]


def test_a_robot_without_a_simulator_needs_a_control_interval(
    tmp_path: Path, config: Config, ingested: Ingested
) -> None:
    with pytest.raises(
        UsageError, match=r"control interval of robot/arm is unknown.*--control-int"
    ):
        ingested(arrays(), ROBOT)
    data = replace(with_source(config, tmp_path / "own.npz", ROBOT), control_interval=0.1)
    ingest(data, tmp_path / "dataset")
    spec = open_dataset(tmp_path / "dataset").spec
    assert (spec.id, spec.control_interval, spec.episode_limit) == (ROBOT, 0.1, 5)
    assert spec.action_high == (float(arrays()["actions"].max()),)
    assert spec.observation_names == ("observation_0", "observation_1", "observation_2")


def test_a_file_may_describe_its_robot(ingested: Ingested) -> None:
    described = {
        "environment": ROBOT,
        "control_interval": 0.02,
        "action_low": [-3.0],
        "action_high": [4.0],
        "observation_names": ["x", "y", "z"],
        "action_names": ["push"],
    }
    spec = ingested(arrays(**described), ROBOT).spec
    assert (spec.action_low, spec.action_high, spec.control_interval) == ((-3,), (4,), 0.02)
    assert (spec.observation_names, spec.action_names) == (("x", "y", "z"), ("push",))


def test_columns_of_other_names_can_be_chosen(ingested: Ingested) -> None:
    content = arrays(observations=None, joints=np.ones((12, 2)), ball=np.full(12, 2.0))
    with pytest.raises(UsageError, match=r"no array of observations; it has .*joints.*--data\.obs"):
        ingested(content)
    dataset = ingested(content, observation=("joints", "ball"))
    assert dataset.observations[0].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"terminals": None, "timeouts": None}, "does not tell where episodes end; it has obs"),
        ({"actions": np.zeros((12, 2))}, "Pendulum-v1 has actions of 1 numbers, the file 2"),
        ({"observations": np.zeros((12, 4, 4, 3))}, r"must be vectors, got \[4, 4, 3\] per row"),
        ({"rewards": np.full(12, np.nan)}, "rewards holds NaN or infinity in row 0"),
        ({"rewards": np.zeros((12, 2))}, r"'rewards' must have one number per row, got \[2\]"),
        ({"timeouts": np.full(12, 2)}, "'timeouts' must be 0 or 1 in every row"),
        ({"rewards": np.zeros(11)}, "equal lengths.*rewards 11"),
        ({"environment": "robot/other"}, "holds rewards for robot/other, not Pendulum-v1"),
        ({"actions": np.full((12, 1), 9.0)}, "outside the bounds: action_0 from 9 to 9"),
    ],
)
def test_invalid_files_are_refused_and_no_files_are_written(
    tmp_path: Path, ingested: Ingested, more: Arrays, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        ingested(arrays(**more))
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "own.npz"]


def test_options_that_a_source_does_not_use_are_refused(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    np.savez(tmp_path / "play.npz", **arrays(rewards=None, qpos=np.zeros((12, 2))))
    cube = "cube-single-singletask-task1-v0"
    for path, option, message in (
        (tmp_path / "play.npz", {"success": "done"}, r"no rewards of its own.*--data\.success"),
        (tmp_path / "play.npz", {"action": ("a",)}, "has the columns of its environment"),
        (dataset, {"success": "done"}, r"--data\.success decides about recorded files"),
        (dataset, {"action": ("a",)}, "choose columns of LeRobot folders"),
    ):
        with pytest.raises(UsageError, match=message):
            ingest(with_source(config, path, cube, **option), tmp_path / "dataset")


def test_ends_that_look_like_time_limits_are_noted(
    ingested: Ingested, capsys: pytest.CaptureFixture[str]
) -> None:
    every = TERMINALS | TIMEOUTS | (np.arange(12) == 11)
    ingested(arrays(terminals=every, timeouts=None))
    assert "every episode ends with a terminal" in capsys.readouterr().err


def test_a_folder_of_hdf5_files_may_have_nested_arrays(tmp_path: Path, config: Config) -> None:
    """As robots with two arms are often recorded: one file per episode, no rewards."""
    (tmp_path / "day").mkdir()
    for number in range(3):
        with h5py.File(tmp_path / f"day/episode_{number}.hdf5", "w") as file:
            file["observations/qpos"] = np.full((5, 2), number)
            file["observations/qvel"] = np.zeros((5, 1))
            file["observations/images/top"] = np.zeros((5, 4, 4, 3), np.uint8)
            file["action"] = np.random.default_rng(number).uniform(-1, 1, (5, 2))
    data = with_source(config, tmp_path / "day", ROBOT)
    with pytest.raises(UsageError, match=r"it has action, observations/qpos.*--data\.observation"):
        ingest(data, tmp_path / "dataset")
    chosen = replace(data.data, observation=("observations/qpos", "observations/qvel"))
    read_all(replace(data, data=chosen, control_interval=0.02), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset")
    assert np.flatnonzero(dataset.terminals).tolist() == [4, 9, 14]
    assert dataset.observations[dataset.observation_index[5]].tolist() == [1, 1, 0]


def test_files_of_other_kinds_are_identified(tmp_path: Path, config: Config) -> None:
    (tmp_path / "day.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="neither npz nor HDF5, and not a folder: write your"):
        ingest(with_source(config, tmp_path / "day.csv", ROBOT), tmp_path / "dataset")


def test_a_folder_may_have_one_episode_per_file_without_marks(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day").mkdir()
    for name in "ab":
        np.savez(tmp_path / f"day/{name}.npz", **arrays(terminals=None, timeouts=None))
    ingest(with_source(config, tmp_path / "day"), tmp_path / "dataset")
    assert np.flatnonzero(open_dataset(tmp_path / "dataset").terminals).tolist() == [11, 23]
    assert "no end of an episode is marked, so each file is one episode" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [np.uint8, np.int8, bool])
def test_bounds_of_actions_of_any_numeric_type_are_those_of_the_data(
    ingested: Ingested, kind: type
) -> None:
    values = np.arange(12)[:, None].astype(kind)
    spec = ingested(arrays(actions=values, control_interval=0.1), ROBOT).spec
    assert (spec.action_low, spec.action_high) == ((0,), (float(values.max()),))


def test_success_and_failure_are_counted_apart_from_the_ends_of_the_task(
    tmp_path: Path, ingested: Ingested
) -> None:
    """A fall ends the task without success; a solved task may go on to a time limit."""
    solved = np.isin(np.arange(12), [5, 6])
    content = arrays(success=solved, control_interval=0.1)
    dataset = ingested(content, ROBOT)
    assert dataset.validation is not None and dataset.info.episodes == 2
    assert (dataset.info.solved_transitions, dataset.info.solved_episodes) == (2, 1)
    assert dataset.validation.info.solved_episodes == 0
    assert dataset.solved_counts.tolist() == [0, 2]
    assert np.flatnonzero(dataset.masks == 0).tolist() == [3]


def test_an_interval_that_looks_like_a_rate_is_noted(
    ingested: Ingested, capsys: pytest.CaptureFixture[str]
) -> None:
    ingested(arrays(control_interval=20), ROBOT)
    assert "the control interval is 20 s: is 20 a rate in Hz?" in capsys.readouterr().err


def test_observations_after_an_automatic_reset_are_refused(ingested: Ingested) -> None:
    content = arrays()
    following = np.roll(content["observations"], -1, axis=0)
    with pytest.raises(UsageError, match="is the first observation of the next episode"):
        ingested(content | {"next_observations": following})


def test_links_of_hdf5_files_are_not_followed(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "own.hdf5"
    write_hdf5(path, arrays(rewards=None))
    with h5py.File(path, "r+") as file:
        file["rewards"] = h5py.ExternalLink("/etc/hostname.hdf5", "/data")
        file["infos/success"] = np.zeros(12)
    info = ingest(with_source(config, path), tmp_path / "dataset")
    assert info.reward_range == (0, 0)

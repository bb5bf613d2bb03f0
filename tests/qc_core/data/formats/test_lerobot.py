"""LeRobot folders are converted to episodes of a robot, and invalid folders are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.formats import parquet as blocks
from qc_core.data.ingest import ingest
from qc_core.data.replay.replay import OfflineData
from qc_core.errors import UsageError

LENGTHS = (4, 3, 5)
Columns = dict[str, np.ndarray]
Robot = Callable[..., Dataset]


def columns(lengths: tuple[int, ...] = LENGTHS, /, **more: Any) -> Columns:
    rng = np.random.default_rng(0)
    rows = sum(lengths)
    return {
        "observation.environment_state": rng.normal(size=(rows, 2)).astype("f4"),
        "observation.state": rng.normal(size=(rows, 3)).astype("f4"),
        "action": rng.uniform(-2, 3, (rows, 2)).astype("f4"),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "frame_index": np.concatenate([np.arange(length) for length in lengths]),
        **{name: np.asarray(values) for name, values in more.items()},
    }


def info_of(arrays: Columns) -> dict[str, Any]:
    features: dict[str, Any] = {
        name: {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}
        for name, values in arrays.items()
    }
    features["observation.images.top"] = {"dtype": "video", "shape": [3, 48, 64], "names": None}
    features["action"]["names"] = ["shoulder.pos", "gripper.pos"]
    return {
        "codebase_version": "v3.0",
        "robot_type": "so101_follower",
        "fps": 25,
        "total_episodes": int((arrays["frame_index"] == 0).sum()),
        "total_frames": len(arrays["frame_index"]),
        "features": features,
    }


def write_folder(folder: Path, arrays: Columns, info: dict[str, Any] | None = None) -> Path:
    """A v3 folder of two data files, the second in a chunk of its own."""
    for chunk, part in enumerate((slice(6), slice(6, None))):
        path = folder / f"data/chunk-00{chunk}/file-000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            pyarrow.table({name: as_column(values[part]) for name, values in arrays.items()}), path
        )
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta/info.json").write_text(json.dumps(info or info_of(arrays)))
    return folder


def as_column(values: np.ndarray) -> pyarrow.Array:
    """Vectors as LeRobot writes them: lists of a fixed length, or of any."""
    if values.ndim == 2 and values.shape[1] == 3:
        return pyarrow.FixedSizeListArray.from_arrays(values.reshape(-1), 3)
    return pyarrow.array(list(values) if values.ndim > 1 else values)


def with_source(config: Config, folder: Path, environment: str = "robot/so101_follower") -> Config:
    data = replace(config.data, source=(str(folder),))
    return replace(config, environment=environment, data=data)


@pytest.fixture
def ingested(tmp_path: Path, config: Config) -> Robot:
    def made(arrays: Columns) -> Dataset:
        folder = write_folder(tmp_path / "recorded", arrays)
        ingest(with_source(config, folder), tmp_path / "dataset")
        return open_dataset(tmp_path / "dataset", verify=True)

    return made


def lasts(lengths: tuple[int, ...] = LENGTHS) -> np.ndarray:
    return np.cumsum(lengths) - 1


@pytest.mark.parametrize("block_rows", [1, 4, 1000])
def test_the_last_frame_of_an_episode_is_only_a_next_observation(
    ingested: Robot, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_ROWS", block_rows)
    arrays = columns()
    dataset = ingested(arrays)
    data = OfflineData(dataset, torch.device("cpu"), DataConfig())
    frames = np.concatenate(
        [arrays["observation.state"], arrays["observation.environment_state"]], axis=1
    )
    every, starts = torch.arange(data.size), np.delete(np.arange(12), lasts())
    np.testing.assert_array_equal(data.observations_at(every), frames[starts])
    np.testing.assert_array_equal(data.next_observations_at(every), frames[starts + 1])
    np.testing.assert_array_equal(dataset.actions, arrays["action"][starts])
    np.testing.assert_array_equal(dataset.terminals, [0, 0, 1, 0, 1, 0, 0, 0, 1])
    assert set(dataset.rewards) == {0} and set(dataset.masks) == {1}


def test_the_spec_is_read_from_the_folder(ingested: Robot) -> None:
    arrays = columns()
    arrays["action"][:, 1] = 7
    spec = ingested(arrays).spec
    assert spec.id == "robot/so101_follower"
    assert spec.action_names == ("shoulder.pos", "gripper.pos")
    assert spec.observation_names == (
        *("state_0", "state_1", "state_2"),
        *("environment_state_0", "environment_state_1"),
    )
    assert spec.control_interval == 1 / 25
    assert spec.episode_limit == 4
    assert spec.action_low[0] == arrays["action"][:, 0].min()
    assert spec.action_high[0] == arrays["action"][:, 0].max()
    assert spec.action_low[1] < 7 < spec.action_high[1]


SUCCESS = [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1]


def test_success_is_the_reward_if_no_reward_is_recorded(ingested: Robot) -> None:
    dataset = ingested(columns(**{"next.success": np.array(SUCCESS, bool)}))
    # The first episode succeeds in its last frame, the third on its way and in its last two.
    solved = [0, 0, 1, 0, 0, 0, 1, 0, 1]
    np.testing.assert_array_equal(dataset.rewards, solved)
    np.testing.assert_array_equal(dataset.masks, 1 - np.array(solved))


def test_the_reward_of_a_solved_last_frame_counts_for_the_last_transition(ingested: Robot) -> None:
    rewards = np.arange(1, 13, dtype="f4")
    dataset = ingested(columns(**{"next.reward": rewards, "next.success": np.array(SUCCESS, bool)}))
    np.testing.assert_array_equal(dataset.rewards, [1, 2, 3 + 4, 5, 6, 8, 9, 10, 11])
    np.testing.assert_array_equal(dataset.masks, [1, 1, 0, 1, 1, 1, 0, 1, 0])


@pytest.mark.parametrize("kind", [bool, np.int64, np.float64])
def test_rewards_may_have_any_numeric_type(ingested: Robot, kind: type) -> None:
    success = np.array(SUCCESS, bool)
    dataset = ingested(columns(**{"next.reward": success.astype(kind), "next.success": success}))
    np.testing.assert_array_equal(dataset.rewards, [0, 0, 1, 0, 0, 0, 1, 0, 1])


def test_done_with_a_positive_reward_is_success(ingested: Robot) -> None:
    rewards = np.zeros(12)
    rewards[3] = 1
    done = np.isin(np.arange(12), lasts())
    dataset = ingested(columns(**{"next.reward": rewards, "next.done": done}))
    np.testing.assert_array_equal(dataset.rewards, [0, 0, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(dataset.masks, [1, 1, 0, 1, 1, 1, 1, 1, 1])


def test_ignored_features_are_logged(ingested: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    ingested(columns())
    shown = capsys.readouterr().err
    assert "not read (not vectors): observation.images.top" in shown
    assert "no next.reward and no next.success: all rewards are 0" in shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ({"axes": ["x", "y"]}, ("x", "y")),
        ({"y": 1, "x": 0}, ("x", "y")),
        (["x"], ("action_0", "action_1")),
        (["x", "x"], ("action_0", "action_1")),
        ({}, ("action_0", "action_1")),
        ("xy", ("action_0", "action_1")),
    ],
)
def test_action_names_come_in_several_forms(
    tmp_path: Path, config: Config, names: Any, shown: tuple[str, ...]
) -> None:
    info = info_of(columns())
    info["features"]["action"]["names"] = names
    folder = write_folder(tmp_path / "recorded", columns(), info)
    ingest(with_source(config, folder), tmp_path / "dataset")
    assert open_dataset(tmp_path / "dataset").spec.action_names == shown


def test_a_robot_without_a_type_is_named_after_its_folder(tmp_path: Path, config: Config) -> None:
    folder = write_folder(tmp_path / "my arm", columns(), info_of(columns()) | {"robot_type": None})
    with pytest.raises(UsageError, match="give --environment robot/my-arm"):
        ingest(with_source(config, folder), tmp_path / "dataset")
    ingest(with_source(config, folder, "robot/my-arm"), tmp_path / "dataset")


def spoiled(name: str, row: int, value: Any) -> Columns:
    arrays = columns()
    arrays[name] = arrays[name].astype(type(value), copy=True)
    arrays[name][row] = value
    return arrays


def cut(name: str) -> Columns:
    return {other: values for other, values in columns().items() if other != name}


def huge() -> dict[str, Any]:
    features = info_of(cut("observation.environment_state"))["features"]
    features["observation.state"]["shape"] = [10**12]
    return features


def ragged() -> Columns:
    rows = [np.zeros(2)] * 11 + [np.zeros(3)]
    values = np.empty(12, object)
    values[:] = rows
    return columns() | {"action": values}


@pytest.mark.parametrize(
    ("arrays", "change", "message"),
    [
        (columns(), {"codebase_version": "v2.1"}, r"LeRobot 'v2\.1', v3 is needed: convert it"),
        (
            columns(),
            {"codebase_version": 3},
            r"Expected `str`, got `int` - at `\$\.codebase_version`",
        ),
        (columns(), {"total_episodes": 0}, "contains no episodes"),
        (columns(), {"total_episodes": 4}, "incomplete: .* 4 episodes of 12 .* contain 3 of 12"),
        (columns(), {"total_frames": 10**15}, "incomplete"),
        (columns(), {"fps": 0}, "fps must be between .*, got 0"),
        (columns(), {"fps": 1e-320}, "fps must be between"),
        (columns(), {"fps": "fast"}, r"Expected `float`, got `str` - at `\$\.fps`"),
        (columns(), {"features": {}}, "a vector action is needed"),
        (columns(), {"features": huge()}, "a vector observation is needed"),
        (columns(), {"features": {"action": 1}}, "feature action must contain a JSON object"),
        (spoiled("action", 7, np.nan), {}, "action holds NaN or infinity in row 1"),
        (spoiled("observation.state", 2, np.inf), {}, "observation.state holds NaN"),
        (spoiled("frame_index", 5, 3), {}, "frame 3 of episode 1 is out of order"),
        (spoiled("episode_index", 5, 3), {}, "frame 1 of episode 3 is out of order"),
        (columns((4, 1, 7)), {}, "needs at least two frames, episode 1 has one"),
        (columns((11, 1)), {}, "needs at least two frames, episode 1 has one"),
        (cut("action"), {}, "column 'action' is missing"),
        (cut("episode_index"), {}, "column 'episode_index' is missing"),
        (ragged(), {}, r"must hold 2 numbers in every row, got \[2, 3\]"),
        (columns(action=np.zeros((12, 3))), {}, r"must hold 2 numbers in every row, got \[3\]"),
        (columns(action=["a"] * 12), {}, "must hold numbers, got string"),
    ],
)
def test_invalid_folders_are_refused_and_no_files_are_written(
    tmp_path: Path, config: Config, arrays: Columns, change: dict[str, Any], message: str
) -> None:
    frames = arrays["frame_index"]
    counts = {"total_episodes": int((frames == 0).sum()), "total_frames": len(frames)}
    info = info_of(columns()) | counts | change
    folder = write_folder(tmp_path / "recorded", arrays, info)
    with pytest.raises(UsageError, match=message) as refusal:
        ingest(with_source(config, folder), tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [folder]


def test_damaged_files_are_refused_by_name(tmp_path: Path, config: Config) -> None:
    folder = write_folder(tmp_path / "recorded", columns())
    path = folder / "data/chunk-001/file-000.parquet"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no parquet", whole[:-300] + whole[-299:]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"file-000\.parquet is not a parquet file, or it is"):
            ingest(with_source(config, folder), tmp_path / "dataset")
    (folder / "meta/info.json").write_text("{")
    with pytest.raises(UsageError, match=r"info\.json is not readable JSON"):
        ingest(with_source(config, folder), tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [folder]


def test_null_values_are_refused(tmp_path: Path, config: Config) -> None:
    folder = write_folder(tmp_path / "recorded", columns())
    path = folder / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(path)
    values = [None, *table["action"].to_pylist()[1:]]
    holed = table.set_column(table.schema.get_field_index("action"), "action", [values])
    parquet.write_table(holed, path)
    with pytest.raises(UsageError, match="column 'action' has rows without a value"):
        ingest(with_source(config, folder), tmp_path / "dataset")

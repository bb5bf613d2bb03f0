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
from tests.qc_core.data.reading import read_all

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
        read_all(with_source(config, folder), tmp_path / "dataset")
        return open_dataset(tmp_path / "dataset", verify=True)

    return made


def lasts(lengths: tuple[int, ...] = LENGTHS) -> np.ndarray:
    return np.cumsum(lengths) - 1


@pytest.mark.parametrize("block_rows", [1, 4, 1000])
def test_every_frame_is_a_transition(
    ingested: Robot, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_ROWS", block_rows)
    arrays = columns()
    dataset = ingested(arrays)
    data = OfflineData(dataset, torch.device("cpu"), DataConfig())
    frames = np.concatenate(
        [arrays["observation.state"], arrays["observation.environment_state"]], axis=1
    )
    every = torch.arange(12)
    np.testing.assert_array_equal(data.observations_at(every), frames)
    # The observation after the last frame is not recorded: the last one is repeated.
    following = np.where(np.isin(every, lasts()), every, every + 1)
    np.testing.assert_array_equal(data.next_observations_at(every), frames[following])
    np.testing.assert_array_equal(dataset.actions, arrays["action"])
    np.testing.assert_array_equal(np.flatnonzero(dataset.terminals), lasts())
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
    assert spec.episode_limit == 5
    assert spec.action_low[0] == arrays["action"][:, 0].min()
    assert spec.action_high[0] == arrays["action"][:, 0].max()
    assert spec.action_low[1] < 7 < spec.action_high[1]


SUCCESS = [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1]


def test_success_is_the_reward_if_no_reward_is_recorded(ingested: Robot) -> None:
    dataset = ingested(columns(**{"next.success": np.array(SUCCESS, bool)}))
    np.testing.assert_array_equal(dataset.rewards, SUCCESS)
    np.testing.assert_array_equal(dataset.masks, 1 - np.array(SUCCESS))
    assert dataset.info.solved_episodes == 2


@pytest.mark.parametrize("kind", [bool, np.int64, np.float64])
def test_rewards_may_have_any_numeric_type(ingested: Robot, kind: type) -> None:
    success = np.array(SUCCESS, bool)
    dataset = ingested(columns(**{"next.reward": success.astype(kind), "next.success": success}))
    np.testing.assert_array_equal(dataset.rewards, SUCCESS)


DENSE = np.random.default_rng(0).uniform(size=12)
AT_ENDS = np.isin(np.arange(12), np.cumsum(LENGTHS) - 1)


def ending(usual: float, *last: float) -> np.ndarray:
    """The same reward in all frames but the last of each episode."""
    rewards = np.full(12, usual)
    rewards[AT_ENDS] = last
    return rewards


@pytest.mark.parametrize(
    ("rewards", "ended", "solved"),
    [
        (ending(0, 1, 0, 1), [3, 11], 2),
        (ending(-1, -1, 0, -1), [6], 1),
        (ending(0, -10, 0, 0), [3], None),
        (DENSE, [], None),
        (np.where(AT_ENDS, [-50.0], DENSE), [3, 6, 11], None),
    ],
)
def test_rewards_of_last_frames_are_read_as_they_were_recorded(
    ingested: Robot, rewards: np.ndarray, ended: list[int], solved: int | None
) -> None:
    dataset = ingested(columns(**{"next.reward": rewards, "next.done": AT_ENDS}))
    np.testing.assert_array_equal(dataset.rewards, rewards.astype("f4"))
    np.testing.assert_array_equal(np.flatnonzero(dataset.masks == 0), ended)
    np.testing.assert_array_equal(np.flatnonzero(dataset.terminals), lasts())
    assert dataset.info.solved_episodes == solved


def test_a_column_of_time_limits_tells_which_ends_are_final(ingested: Robot) -> None:
    truncated = np.arange(12) == 6
    more = {"next.reward": DENSE, "next.done": AT_ENDS, "next.truncated": truncated}
    assert np.flatnonzero(ingested(columns(**more)).masks == 0).tolist() == [3, 11]


def test_an_option_decides_what_the_folder_does_not_tell(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(
        tmp_path / "recorded", columns(**{"next.reward": DENSE, "next.done": AT_ENDS})
    )
    ingest(with_source(config, folder), tmp_path / "auto")
    assert "success is unknown" in capsys.readouterr().err
    for rule, expected in (
        (f"final-reward>={DENSE[[3, 6, 11]].max()}", [int(3 + DENSE[[3, 6, 11]].argmax())]),
        ("done", [3, 6, 11]),
        ("none", []),
    ):
        wanted = with_source(config, folder)
        wanted = replace(wanted, data=replace(wanted.data, success=rule))
        info = read_all(wanted, tmp_path / rule)
        dataset = open_dataset(tmp_path / rule)
        np.testing.assert_array_equal(dataset.rewards, DENSE.astype("f4"))
        assert info.solved_episodes == len(expected)
        assert (dataset.masks == 0).sum() == len(expected)
    wanted = replace(wanted, data=replace(wanted.data, success="reward"))
    with pytest.raises(UsageError, match=r"needs sparse rewards.*they are dense: choose a thresh"):
        ingest(wanted, tmp_path / "reward")


def test_ignored_features_are_logged(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "recorded", columns())
    ingest(with_source(config, folder), tmp_path / "dataset")
    shown = capsys.readouterr().err
    assert "not read (not vectors, or not chosen): observation.images.top" in shown
    assert "no rewards and no success: all rewards are 0" in shown
    assert "WARNING: every reward in the data is 0" in shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ({"axes": ["x", "y"]}, ("x", "y")),
        ({"y": 1, "x": 0}, ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        ({"left": ["x"], "right": ["x"]}, ("left_x", "right_x")),
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
        (columns(), {"codebase_version": "v1.6"}, r"LeRobot 'v1\.6', v2 or v3 is needed"),
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
        (columns(), {"features": {}}, "a vector observation is needed"),
        (columns(), {"features": huge()}, "a vector observation is needed"),
        (columns(), {"features": {"action": 1}}, "feature action must contain a JSON object"),
        (spoiled("action", 7, np.nan), {}, "action holds NaN or infinity in row 1"),
        (spoiled("observation.state", 2, np.inf), {}, "observation.state holds NaN"),
        (spoiled("frame_index", 5, 3), {}, "frame 3 of episode 1 is out of order"),
        (spoiled("episode_index", 5, 3), {}, "frame 1 of episode 3 is out of order"),
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


def test_a_folder_of_version_2_has_a_file_per_episode(tmp_path: Path, config: Config) -> None:
    arrays = columns(**{"next.reward": ending(0, 1, 0, 1)})
    folder = tmp_path / "recorded"
    for episode in range(3):
        path = folder / f"data/chunk-000/episode_{episode:06}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = arrays["episode_index"] == episode
        parquet.write_table(
            pyarrow.table({name: as_column(values[rows]) for name, values in arrays.items()}), path
        )
    (folder / "meta").mkdir()
    info = info_of(arrays) | {"codebase_version": "v2.1", "total_chunks": 1, "total_videos": 3}
    (folder / "meta/info.json").write_text(json.dumps(info))
    assert read_all(with_source(config, folder), tmp_path / "dataset").solved_episodes == 2
    np.testing.assert_array_equal(open_dataset(tmp_path / "dataset").actions, arrays["action"])


def renamed(names: dict[str, str]) -> Columns:
    return {names.get(name, name): values for name, values in columns().items()}


@pytest.mark.parametrize(
    ("names", "observations", "actions"),
    [
        (
            {"observation.state": "state", "action": "actions"},
            # Groups in the order of their names.
            "environment_state_0 environment_state_1 state_0 state_1 state_2",
            "shoulder.pos gripper.pos",
        ),
        (
            {"observation.environment_state": "actions.hand", "action": "actions.arm"},
            "state_0 state_1 state_2",
            "arm_shoulder.pos arm_gripper.pos hand_0 hand_1",
        ),
    ],
)
def test_groups_of_other_names_are_found(
    tmp_path: Path, config: Config, names: dict[str, str], observations: str, actions: str
) -> None:
    info = info_of(columns())
    info["features"] = {names.get(k, k): value for k, value in info["features"].items()}
    folder = write_folder(tmp_path / "recorded", renamed(names), info)
    ingest(with_source(config, folder), tmp_path / "dataset")
    spec = open_dataset(tmp_path / "dataset").spec
    assert " ".join(spec.observation_names) == observations
    assert " ".join(spec.action_names) == actions


def test_columns_of_similar_names_have_names_of_their_own(ingested: Robot) -> None:
    names = ingested(columns(state=np.ones((12, 2)))).spec.observation_names
    assert names == (
        *("observation.state_0", "observation.state_1", "observation.state_2"),
        *("observation.environment_state_0", "observation.environment_state_1"),
        *("state_0", "state_1"),
    )


def test_a_single_number_may_have_an_empty_shape(tmp_path: Path, config: Config) -> None:
    arrays = columns(action=np.arange(12.0))
    info = info_of(arrays)
    info["features"]["action"] |= {"shape": [], "names": None}
    folder = write_folder(tmp_path / "recorded", arrays, info)
    ingest(with_source(config, folder), tmp_path / "dataset")
    assert open_dataset(tmp_path / "dataset").spec.action_high == (11.0,)


def test_a_folder_without_frames_is_identified(tmp_path: Path, config: Config) -> None:
    folder = write_folder(tmp_path / "recorded", columns())
    for path in folder.glob("data/*/*.parquet"):
        path.unlink()
    with pytest.raises(UsageError, match=r"has no frames .*: download the complete dataset"):
        ingest(with_source(config, folder), tmp_path / "dataset")


def test_columns_that_do_not_fit_are_listed_and_can_be_chosen(
    tmp_path: Path, config: Config
) -> None:
    names = {"observation.state": "joints", "observation.environment_state": "puck"}
    info = info_of(columns())
    info["features"] = {names.get(k, k): value for k, value in info["features"].items()}
    folder = write_folder(tmp_path / "recorded", renamed(names), info)
    with pytest.raises(
        UsageError, match=r"it has puck \[2\], joints \[3\].*--data\.observation NAME"
    ):
        ingest(with_source(config, folder), tmp_path / "dataset")
    chosen = with_source(config, folder)
    chosen = replace(chosen, data=replace(chosen.data, observation=("joints", "puck")))
    ingest(chosen, tmp_path / "dataset")
    np.testing.assert_array_equal(
        open_dataset(tmp_path / "dataset").observations[:3, :3], columns()["observation.state"][:3]
    )
    chosen = replace(chosen, data=replace(chosen.data, action=("index",)))
    with pytest.raises(UsageError, match="'index' is not a column of vectors; it has puck"):
        ingest(chosen, tmp_path / "other")


def test_timestamps_that_contradict_fps_are_refused(tmp_path: Path, config: Config) -> None:
    seconds = columns()["frame_index"] / 10
    folder = write_folder(tmp_path / "recorded", columns(timestamp=seconds))
    with pytest.raises(UsageError, match=r"fps is 25, but timestamps are 0\.1 s apart.* 10 fps"):
        ingest(with_source(config, folder), tmp_path / "dataset")


def test_gaps_between_timestamps_are_reported(
    ingested: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = columns()["frame_index"] / 25
    seconds[9:] += 1.0
    ingested(columns(timestamp=seconds))
    assert "1 of 9 steps take longer than 1.5 control intervals" in capsys.readouterr().err


def test_an_outlier_does_not_become_an_action_bound(
    ingested: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = columns((30, 30))
    arrays["action"][:, 1] = np.arange(60) % 2
    inner = np.delete(arrays["action"][:, 0], 17)
    arrays["action"][17, 0] = 1e6
    dataset = ingested(arrays)
    assert dataset.spec.action_high == (inner.max(), 1)
    assert dataset.spec.action_low == (inner.min(), 0)
    assert dataset.actions[17, 0] == inner.max()
    shown = capsys.readouterr().err
    assert "outliers do not widen the bounds of actions: shoulder.pos reaches" in shown
    assert "clipped: 1 of 60 actions" in shown


def test_pointers_of_git_lfs_are_named(tmp_path: Path, config: Config) -> None:
    folder = write_folder(tmp_path / "recorded", columns())
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    (folder / "data/chunk-001/file-000.parquet").write_text(pointer)
    with pytest.raises(
        UsageError, match=r"file-000\.parquet is a pointer of Git LFS.*git lfs pull"
    ):
        ingest(with_source(config, folder), tmp_path / "dataset")


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

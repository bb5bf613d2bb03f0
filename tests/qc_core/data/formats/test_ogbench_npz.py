"""Ingesting OGBench's npz files matches OGBench's own loader, and invalid files are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ogbench
import pytest
import torch

from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.data.formats import ogbench_npz
from qc_core.data.formats.download import official_name
from qc_core.data.ingest import ingest
from qc_core.data.replay.replay import OfflineData
from qc_core.envs.make import make_environment
from qc_core.errors import UsageError

Arrays = dict[str, Any]


def play_file(environment: str, episodes: int, rows: int, seed: int = 0) -> Arrays:
    """Arrays as in an official file, from random play in the real environment."""
    made: Any = make_environment(environment)
    rng = np.random.default_rng(seed)
    columns: dict[str, list] = {}
    for episode in range(episodes):
        observation, _ = made.reset(seed=seed + episode)
        for _ in range(rows):
            action = rng.uniform(-1, 1, made.action_space.shape)
            row = {"observations": observation, "actions": action}
            observation, *_, info = made.step(action)
            for name in ("qpos", "qvel", "button_states"):
                if f"prev_{name}" in info:
                    row[name] = info[f"prev_{name}"]
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    arrays = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in arrays.items()}
    terminals = np.zeros(episodes * rows, bool)
    terminals[rows - 1 :: rows] = True
    # For a while in the middle of the first episode, so that there are rewards to see.
    solve(environment, made.unwrapped, arrays, slice(rows // 2, rows // 2 + 3))
    made.close()
    return arrays | {"terminals": terminals}


def solve(environment: str, inner: Any, arrays: Arrays, rows: slice) -> None:
    """Bring these rows' simulator states to the goal of the environment's task."""
    qpos, family = arrays["qpos"], environment.split("-")[0]
    if family.endswith("maze"):
        qpos[rows, :2] = inner.cur_goal_xy
    elif family == "antsoccer":
        qpos[rows, 15:17] = inner.cur_goal_xy
    elif family == "puzzle":
        arrays["button_states"][rows] = inner._target_button_states
    else:
        cubes = inner._data.mocap_pos
        for cube, place in enumerate(cubes):
            qpos[rows, 14 + 7 * cube : 17 + 7 * cube] = place
    if family == "scene":
        arrays["button_states"][rows] = inner._target_button_states
        drawer = 14 + 7 * inner._num_cubes + inner._num_buttons
        qpos[rows, drawer : drawer + 2] = inner._target_drawer_pos, inner._target_window_pos


@pytest.fixture(scope="module")
def arrays(config: Config) -> Arrays:
    return play_file(config.environment, episodes=3, rows=11)


def with_source(config: Config, path: Path) -> Config:
    return replace(config, data=replace(config.data, source=(str(path),)))


def require_ogbenchs(dataset: Dataset, name: str, path: Path) -> None:
    """The dataset is what OGBench's own loader makes of the file, rewards and all."""
    made: Any = ogbench.make_env_and_datasets(name, dataset_path=str(path))
    expected: Arrays = made[1]
    data = OfflineData(dataset, torch.device("cpu"), DataConfig())
    every = torch.arange(data.size)
    np.testing.assert_array_equal(data.observations_at(every), expected["observations"])
    np.testing.assert_array_equal(data.next_observations_at(every), expected["next_observations"])
    np.testing.assert_allclose(data.actions, expected["actions"], atol=1e-5)
    for array in ("rewards", "masks", "terminals"):
        np.testing.assert_array_equal(getattr(data, array), expected[array])
    assert 0 < (expected["masks"] == 0).sum() < data.size


@pytest.mark.parametrize("block_rows", [5, 11, 1000])
def test_ingesting_a_file_matches_ogbench(
    tmp_path: Path, config: Config, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(ogbench_npz, "_BLOCK_ROWS", block_rows)
    path = tmp_path / "cube-single-play-v0.npz"
    np.savez(path, **arrays)
    np.savez(tmp_path / "cube-single-play-v0-val.npz", **arrays)
    ingest(with_source(config, path), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset", verify=True)
    require_ogbenchs(dataset, "cube-single-play-singletask-task1-v0", path)
    assert dataset.validation is not None
    assert dataset.validation.digest == dataset.digest


@pytest.mark.parametrize(
    ("environment", "official"),
    [
        ("pointmaze-medium-singletask-task2-v0", "pointmaze-medium-stitch-v0"),
        ("antmaze-medium-singletask-task3-v0", "antmaze-medium-explore-v0"),
        ("humanoidmaze-medium-singletask-v0", "humanoidmaze-medium-navigate-v0"),
        ("antsoccer-arena-singletask-task1-v0", "antsoccer-arena-navigate-v0"),
        ("scene-singletask-task4-v0", "scene-noisy-v0"),
        ("puzzle-3x3-singletask-task2-v0", "puzzle-3x3-play-v0"),
    ],
)
def test_ingesting_matches_ogbench_for_every_family(
    tmp_path: Path, config: Config, environment: str, official: str
) -> None:
    assert official_name(environment, official) == official
    path = tmp_path / f"{official}.npz"
    arrays = play_file(environment, episodes=2, rows=9)
    np.savez(path, **arrays)
    np.savez(tmp_path / f"{official}-val.npz", **arrays)
    ingest(replace(with_source(config, path), environment=environment), tmp_path / "dataset")
    kind = official.split("-")[-2]
    name = environment.replace("-singletask", f"-{kind}-singletask")
    require_ogbenchs(open_dataset(tmp_path / "dataset"), name, path)


def test_shards_are_read_in_the_order_of_their_names(
    tmp_path: Path, config: Config, arrays: Arrays
) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    # The last episode of the first shard is cut off: it ends where the shard ends.
    parts = {"b": slice(0, 30), "c": slice(11, 33), "a-val": slice(22, 33), "a": slice(22, 33)}
    for name, rows in parts.items():
        np.savez(shards / f"{name}.npz", **{k: v[rows] for k, v in arrays.items()})
    ingest(with_source(config, shards), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset", verify=True)
    observations = np.concatenate([arrays["observations"][parts[name]] for name in "abc"])
    np.testing.assert_array_equal(dataset.observations, observations)
    ends = np.flatnonzero(dataset.terminals)
    assert np.diff(ends, prepend=-1).tolist() == [10, 10, 10, 7, 10, 10]
    assert list(dataset.info.source.files) == ["a.npz", "b.npz", "c.npz"]
    assert dataset.validation is not None
    np.testing.assert_array_equal(dataset.validation.observations, arrays["observations"][22:])


def test_an_invalid_shard_is_refused_before_reading(
    tmp_path: Path, config: Config, arrays: Arrays
) -> None:
    np.savez(tmp_path / "a.npz", **nan_in(arrays, "actions"))
    np.savez(tmp_path / "b.npz", **{k: v for k, v in arrays.items() if k != "qpos"})
    with pytest.raises(UsageError, match=r"b\.npz: array 'qpos' is missing"):
        ingest(with_source(config, tmp_path), tmp_path.parent / "dataset")
    for path in tmp_path.iterdir():
        path.rename(path.with_stem(f"{path.stem}-val"))
    with pytest.raises(UsageError, match="holds no npz files but validation files"):
        ingest(with_source(config, tmp_path), tmp_path.parent / "dataset")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block_rows", [700, 25_000])
def test_the_digest_of_a_data_set_does_not_change(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, save, block_rows: int
) -> None:
    monkeypatch.setattr(ogbench_npz, "_BLOCK_ROWS", block_rows)
    rng = np.random.default_rng(0)
    sizes = {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}
    arrays: Arrays = {
        name: rng.uniform(-1, 1, (3000, size)).astype(np.float32) for name, size in sizes.items()
    }
    arrays["qpos"][::7, 14:17] = (0.425, -0.1, 0.02)
    arrays["terminals"] = np.arange(3000) % 300 == 299
    save(tmp_path / "rows.npz", **arrays)
    info = ingest(with_source(config, tmp_path / "rows.npz"), tmp_path / "dataset")
    assert info.solved_transitions == 428
    assert info.digest == "e90c572c066aa3feca8bf20b085ee6a320e1149099002bd5a10d33f5a3c23e21"
    assert open_dataset(tmp_path / "dataset", verify=True).digest == info.digest


def test_timeouts_end_episodes_without_success(
    tmp_path: Path, config: Config, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ogbench_npz, "_BLOCK_ROWS", 5)
    # The first episode has reached its end, the others were cut off.
    first = np.arange(33) == 10
    marked = arrays | {"terminals": first, "timeouts": arrays["terminals"] & ~first}
    digests = []
    for name, rows in (("one", arrays), ("two", marked)):
        np.savez(tmp_path / f"{name}.npz", **rows)
        data = with_source(config, tmp_path / f"{name}.npz")
        digests.append(ingest(data, tmp_path / name).digest)
    assert digests[0] == digests[1]
    dataset = open_dataset(tmp_path / "two")
    assert np.flatnonzero(dataset.terminals).tolist() == [9, 19, 29]
    assert dataset.masks[[9, 19, 29]].tolist() == [1, 1, 1]


def nan_in(arrays: Arrays, name: str) -> Arrays:
    spoiled = arrays[name].copy()
    spoiled[7, 2] = np.nan
    return {**arrays, name: spoiled}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: nan_in(a, "observations"), "observations holds NaN or infinity in row 7"),
        (lambda a: nan_in(a, "actions"), "actions holds NaN or infinity in row 7"),
        (lambda a: {**a, "actions": a["actions"][:-1]}, "equal lengths.*actions 32"),
        (lambda a: {**a, "actions": a["actions"][:, :4]}, "actions of 5 numbers, the file"),
        (lambda a: {k: v for k, v in a.items() if k != "terminals"}, "'terminals' is missing"),
        (lambda a: {k: v for k, v in a.items() if k != "qpos"}, "'qpos' is missing"),
        (lambda a: {**a, "observations": a["observations"].astype(object)}, "plain numeric"),
        (lambda a: {k: v[:0] for k, v in a.items()}, "holds no rows"),
        (lambda a: {**a, "terminals": np.ones(33, bool)}, "at least two rows"),
        (lambda a: nan_in(a, "qpos"), "qpos holds NaN or infinity in row 7"),
        (lambda a: {**a, "qpos": a["qpos"][:, :3]}, r"qpos of 21 numbers, the file \[3\]"),
        (lambda a: {**a, "qpos": a["qpos"][:, 0]}, "qpos of 21 numbers"),
        (lambda a: {**a, "terminals": a["terminals"][:, None]}, "one number per row"),
        (lambda a: {**a, "terminals": np.array(3)}, "equal lengths"),
        (lambda a: {**a, "terminals": -1.0 * a["terminals"]}, "'terminals' must be 0 or 1 in"),
        (lambda a: {**a, "timeouts": 2 * a["terminals"]}, "'timeouts' must be 0 or 1 in every row"),
        (lambda a: {**a, "timeouts": a["terminals"][:, None]}, "'timeouts' must have one number"),
        (lambda a: {**a, "timeouts": a["terminals"][1:]}, "equal lengths.*timeouts 32"),
    ],
)
def test_invalid_arrays_are_refused_and_no_files_are_written(
    tmp_path: Path,
    config: Config,
    arrays: Arrays,
    monkeypatch: pytest.MonkeyPatch,
    spoil,
    message: str,
) -> None:
    monkeypatch.setattr(ogbench_npz, "_BLOCK_ROWS", 5)
    path = tmp_path / "bad.npz"
    np.savez(path, **spoil(arrays))
    with pytest.raises(UsageError, match=message) as refusal:
        ingest(with_source(config, path), tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [path]


def test_actions_outside_their_bounds_are_refused(
    tmp_path: Path, config: Config, arrays: Arrays
) -> None:
    np.savez(tmp_path / "wild.npz", **{**arrays, "actions": arrays["actions"] * 7})
    with pytest.raises(UsageError, match=r"outside the bounds: .*another scale"):
        ingest(with_source(config, tmp_path / "wild.npz"), tmp_path / "dataset")


def test_actions_in_another_scale_are_reported(
    tmp_path: Path, config: Config, arrays: Arrays, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "small.npz", **{**arrays, "actions": arrays["actions"] * 0.05})
    ingest(with_source(config, tmp_path / "small.npz"), tmp_path / "dataset")
    assert "actions use at most 0.05 of the bounds" in capsys.readouterr().err


def test_truncated_and_foreign_files_are_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, config: Config, arrays: Arrays
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a zip file at all", b"PK\x03\x04" * 9):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="not an npz file, or it is truncated"):
            ingest(with_source(config, path), tmp_path / "dataset")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(UsageError, match=r"damaged|cannot be read|NaN"):
        ingest(with_source(config, path), tmp_path / "dataset")
    with pytest.raises(UsageError, match="does not exist"):
        ingest(with_source(config, tmp_path / "none.npz"), tmp_path / "dataset")
    with pytest.raises(UsageError, match=r"is a folder without a dataset\.json"):
        ingest(with_source(config, tmp_path_factory.mktemp("empty")), tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [path]


def test_a_data_set_folder_is_copied_unchanged(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    ingest(with_source(config, dataset), tmp_path / "copy")
    assert open_dataset(tmp_path / "copy", verify=True).digest == open_dataset(dataset).digest
    other = replace(with_source(config, dataset), environment="cube-single-singletask-task2-v0")
    with pytest.raises(UsageError, match="rewards for cube-single-singletask-task1-v0"):
        ingest(other, tmp_path / "other")

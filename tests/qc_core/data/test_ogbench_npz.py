"""OGBench's npz files become what OGBench itself makes of them, and bad files are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ogbench
import pytest
import torch

from qc_core.data import ogbench_npz
from qc_core.data.dataset import open_dataset
from qc_core.data.ingest import ingest
from qc_core.data.replay import OfflineData
from qc_core.envs.make import make_environment
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config

Arrays = dict[str, Any]


def play_file(environment: str, episodes: int, rows: int, seed: int = 0) -> Arrays:
    """Arrays as in an official file, from random play in the real environment."""
    made = make_environment(environment)
    rng = np.random.default_rng(seed)
    columns: dict[str, list] = {n: [] for n in ("observations", "actions", "qpos", "qvel")}
    for episode in range(episodes):
        observation, info = made.reset(seed=seed + episode)
        for _ in range(rows):
            action = rng.uniform(-1, 1, 5)
            columns["observations"].append(observation)
            columns["actions"].append(action)
            columns["qpos"].append(info["qpos"])
            columns["qvel"].append(info["qvel"])
            observation, *_, info = made.step(action)
    made.close()
    arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    terminals = np.zeros(episodes * rows, bool)
    terminals[rows - 1 :: rows] = True
    # Let the cube lie in its goal for a while, so that there are rewards to see.
    arrays["qpos"][rows // 2 : rows // 2 + 3, 14:17] = (0.425, -0.1, 0.02)
    return arrays | {"terminals": terminals}


@pytest.fixture(scope="module")
def arrays(config: Config) -> Arrays:
    return play_file(config.environment, episodes=3, rows=11)


def with_source(config: Config, path: Path) -> Config:
    return replace(config, data=replace(config.data, source=str(path)))


@pytest.mark.parametrize("block_rows", [5, 11, 1000])
def test_a_file_becomes_what_ogbench_makes_of_it(
    tmp_path: Path, config: Config, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(ogbench_npz, "_BLOCK_ROWS", block_rows)
    path = tmp_path / "cube-single-play-v0.npz"
    np.savez(path, **arrays)
    np.savez(tmp_path / "cube-single-play-v0-val.npz", **arrays)
    ingest(with_source(config, path), tmp_path / "dataset")
    dataset = open_dataset(tmp_path / "dataset", verify=True)
    data = OfflineData(dataset, torch.device("cpu"), config.data)

    made: Any = ogbench.make_env_and_datasets(
        "cube-single-play-singletask-task1-v0", dataset_path=str(path)
    )
    expected: Arrays = made[1]
    every = torch.arange(data.size)
    np.testing.assert_array_equal(data.observations_at(every), expected["observations"])
    np.testing.assert_array_equal(data.next_observations_at(every), expected["next_observations"])
    np.testing.assert_allclose(data.actions, expected["actions"], atol=1e-5)
    for name in ("rewards", "masks", "terminals"):
        np.testing.assert_array_equal(getattr(data, name), expected[name])
    assert (expected["masks"] == 0).any()
    assert dataset.validation is not None
    assert dataset.validation.digest == dataset.digest


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
    ],
)
def test_bad_arrays_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path, config: Config, arrays: Arrays, spoil, message: str
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **spoil(arrays))
    with pytest.raises(WrongUse, match=message) as refusal:
        ingest(with_source(config, path), tmp_path / "dataset")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [path]


def test_actions_are_kept_within_their_bounds(
    tmp_path: Path, config: Config, arrays: Arrays
) -> None:
    np.savez(tmp_path / "wild.npz", **{**arrays, "actions": arrays["actions"] * 7})
    ingest(with_source(config, tmp_path / "wild.npz"), tmp_path / "dataset")
    assert np.abs(open_dataset(tmp_path / "dataset").actions).max() == 1


def test_truncated_and_foreign_files_are_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, config: Config, arrays: Arrays
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a zip file at all", b"PK\x03\x04" * 9):
        path.write_bytes(content)
        with pytest.raises(WrongUse, match="not an npz file, or it is truncated"):
            ingest(with_source(config, path), tmp_path / "dataset")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(WrongUse, match=r"damaged|cannot be read|NaN"):
        ingest(with_source(config, path), tmp_path / "dataset")
    with pytest.raises(WrongUse, match="does not exist"):
        ingest(with_source(config, tmp_path / "none.npz"), tmp_path / "dataset")
    with pytest.raises(WrongUse, match=r"is a folder without a dataset\.json"):
        ingest(with_source(config, tmp_path_factory.mktemp("empty")), tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == [path]


def test_a_data_set_folder_is_taken_as_it_is(tmp_path: Path, config: Config, dataset: Path) -> None:
    ingest(with_source(config, dataset), tmp_path / "copy")
    assert open_dataset(tmp_path / "copy", verify=True).digest == open_dataset(dataset).digest
    other = replace(with_source(config, dataset), environment="cube-single-singletask-task2-v0")
    with pytest.raises(WrongUse, match="rewards for cube-single-singletask-task1-v0"):
        ingest(other, tmp_path / "other")

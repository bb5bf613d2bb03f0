"""A dataset folder contains what was written, and damaged folders are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qc_core.config.settings import DataConfig
from qc_core.data.dataset.dataset import DatasetWriter, open_dataset, require_match
from qc_core.data.dataset.info import unrewarded
from qc_core.data.replay.replay import OfflineData
from qc_core.envs.make import describe
from qc_core.errors import RunError, UsageError
from qc_core.files import sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes


def test_transitions_have_their_observations(tmp_path: Path, spec: EnvironmentSpec) -> None:
    first, second = random_episodes(spec, [3, 2]), random_episodes(spec, [4], seed=1)
    writer = DatasetWriter(tmp_path / "d", spec)
    writer.append(first)
    writer.append(second)
    info = writer.finish(DataSource())
    data = OfflineData(open_dataset(tmp_path / "d", verify=True), torch.device("cpu"), DataConfig())

    starts = np.concatenate(
        [first.observations[:3], first.observations[4:6], second.observations[:4]]
    )
    ends = np.concatenate(
        [first.observations[1:4], first.observations[5:7], second.observations[1:5]]
    )
    every = torch.arange(9)
    np.testing.assert_array_equal(data.observations_at(every), starts)
    np.testing.assert_array_equal(data.next_observations_at(every), ends)
    assert (info.transitions, info.episodes) == (9, 3)
    assert info.solved_transitions == 2


@pytest.mark.parametrize(
    ("reward", "ends_task", "warned"),
    [(0, False, True), (0, True, True), (-1, False, True), (1, False, True), (1, True, False)],
)
def test_data_in_which_nothing_is_rewarded_are_warned_about(
    tmp_path: Path, spec: EnvironmentSpec, reward: float, ends_task: bool, warned: bool
) -> None:
    episodes = random_episodes(spec, [3, 2])
    masks = episodes.masks if ends_task else np.ones(5, np.float32)
    writer = DatasetWriter(tmp_path / "d", spec)
    writer.append(replace(episodes, rewards=np.full(5, reward, np.float32), masks=masks))
    warning = unrewarded(writer.finish(DataSource()))
    assert warning.startswith(f"WARNING: every reward in the data is {reward}") == warned


def test_varied_rewards_give_no_warning(dataset: Path) -> None:
    assert not unrewarded(open_dataset(dataset).info)


def test_the_same_rows_have_the_same_digest(tmp_path: Path, spec: EnvironmentSpec) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        writer = DatasetWriter(tmp_path / name, spec)
        writer.append(random_episodes(spec, [5], seed=seed))
        digests.append(writer.finish(DataSource(dataset=name)).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def copy(tmp_path: Path, dataset: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_the_range_of_each_observation_is_recorded(tmp_path: Path, spec: EnvironmentSpec) -> None:
    writer = DatasetWriter(tmp_path / "data", spec)
    for seed in range(2):
        writer.append(random_episodes(spec, [4, 6], seed=seed))
    writer.finish(DataSource())
    extent = open_dataset(tmp_path / "data").extent
    assert (extent.episodes, extent.transitions) == (4, 20)
    assert extent.observation_range is not None
    observations = np.load(tmp_path / "data" / "observations.npy")
    assert list(extent.observation_range.low) == observations.min(axis=0).tolist()
    assert list(extent.observation_range.high) == observations.max(axis=0).tolist()


def test_a_truncated_array_is_refused_by_name(copy: Path) -> None:
    path = copy / "actions.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"actions\.npy is missing or truncated"):
        open_dataset(copy)


def rewritten(folder: Path, **arrays: np.ndarray) -> None:
    """Other arrays, and a manifest that says so."""
    path = folder / "dataset.json"
    manifest = json.loads(path.read_text())
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
        manifest["arrays"][name] = {
            "shape": list(values.shape),
            "dtype": values.dtype.name,
            "sha256": sha256_of(folder / f"{name}.npy"),
        }
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rewards", lambda a: a.astype(np.float64), r"float32 \[150\], got float64 \[150\]"),
        ("rewards", lambda a: a[:20], r"float32 \[150\], got float32 \[20\]"),
        ("rewards", lambda a: a[:, None], r"float32 \[150\], got float32 \[150, 1\]"),
        ("actions", lambda a: a[:10], r"float32 \[150, 5\], got float32 \[10, 5\]"),
        ("actions", lambda a: a[:, :4], r"float32 \[150, 5\], got float32 \[150, 4\]"),
        ("actions", np.asfortranarray, r"got float32 \[150, 5\] in Fortran order"),
        ("masks", lambda a: a.astype(">f4"), r"float32 \[150\], got >f4 \[150\]"),
        ("masks", lambda a: a.astype(object), "truncated"),
        ("observations", lambda a: a[:-1], r"float32 \[153, 28\], got float32 \[152, 28\]"),
        ("observation_index", lambda a: a.astype(np.int64), r"int32 \[150\], got int64 \[150\]"),
        ("observation_index", lambda a: a + 1, "run from 0 to 151, got 1 to 152"),
        ("terminals", lambda a: a - np.float32(1), "must end with the end of an episode"),
    ],
)
def test_mismatched_arrays_are_refused_when_opened(
    copy: Path, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    rewritten(copy, **{name: change(np.load(copy / f"{name}.npy"))})
    with pytest.raises(UsageError, match=rf"{name}\.npy .*{message}"):
        open_dataset(copy)


def test_a_data_set_without_transitions_is_refused(copy: Path, spec: EnvironmentSpec) -> None:
    DatasetWriter(copy, spec)
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**manifest, "transitions": 0, "episodes": 0}))
    with pytest.raises(UsageError, match=r"\.npy"):
        open_dataset(copy)


def test_an_altered_array_is_refused_when_verified(copy: Path) -> None:
    path = copy / "rewards.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    open_dataset(copy)
    with pytest.raises(UsageError, match=r"rewards\.npy .*checksum"):
        open_dataset(copy, verify=True)


def test_a_data_set_of_an_older_release_is_opened(copy: Path) -> None:
    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    del content["observation-range"]
    path.write_text(json.dumps({**content, "future-field": 1}))
    opened = open_dataset(copy, verify=True)
    assert opened.extent.observation_range is None
    assert opened.extent.transitions == opened.transitions == 150


def test_the_document_contains_what_the_writer_returned(
    tmp_path: Path, spec: EnvironmentSpec
) -> None:
    writer = DatasetWriter(tmp_path / "d", spec)
    writer.append(random_episodes(spec, [5]))
    info = writer.finish(DataSource(kind="test"))
    opened = open_dataset(tmp_path / "d")
    assert opened.info == info
    assert opened.spec == info.spec == spec


def test_an_unknown_schema_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**manifest, "schema-version": 99}))
    with pytest.raises(UsageError, match="schema 2 is needed, got 99"):
        open_dataset(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda m: {**m, "schema-version": "1"},
        lambda m: {k: v for k, v in m.items() if k != "arrays"},
        lambda m: {**m, "arrays": "x"},
        lambda m: {**m, "arrays": {"observations": {}}},
    ],
)
def test_an_info_file_with_wrong_fields_is_refused(copy: Path, change) -> None:
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(change(manifest)))
    with pytest.raises(UsageError, match=r"dataset\.json"):
        open_dataset(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action-low": ["x"] * 5}, "Expected `float`, got `str` - at `\\$.action-low"),
        ({"action-high": [float("nan")] * 5}, "must be finite numbers"),
        ({"action-high": [10**400] * 5}, "out of range - at `\\$.action-high"),
        ({"control-interval-seconds": 10**400}, "out of range - at `\\$.control-interval"),
        ({"action-low": [0.0]}, "5 actions must have as many bounds, got 1 low and 5 high"),
        ({"action-low": [2.0] * 5}, "a low bound of the actions is above the high bound"),
        ({"reward-convention": 3}, "Expected `str`, got `int` - at `\\$.reward-convention`"),
        ({"mujoco-version": 3}, "Expected `str \\| null`, got `int` - at `\\$.mujoco-version`"),
        ({"source": {"sources": 3}}, r"`array`, got `int` - at `\$.source.sources`"),
        ({"source": {"sources": ["x"]}}, r"`object`, got `str` - at `\$.source.sources\[0\]`"),
        ({"digest": "0" * 64}, "its digest is not that of the arrays"),
    ],
)
def test_an_info_file_with_invalid_values_is_refused(
    copy: Path, change: dict[str, Any], message: str
) -> None:
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(manifest | change))
    with pytest.raises(UsageError, match=rf"dataset\.json.*{message}"):
        open_dataset(copy, verify=True)


@pytest.mark.parametrize("shape", ["((((", f"({10**30},)", f"({2**62},)", "(-1,)", "(True,)"])
def test_an_invalid_array_header_is_refused_by_name(copy: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(600)
    (copy / "rewards.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"rewards\.npy is missing or truncated"):
        open_dataset(copy)


def test_rewards_of_another_task_are_refused(dataset: Path) -> None:
    with pytest.raises(UsageError, match="holds rewards for cube-single-singletask-task1-v0"):
        require_match(open_dataset(dataset), describe("cube-single-singletask-task2-v0"))


def test_sizes_of_another_environment_are_refused(dataset: Path) -> None:
    with pytest.raises(UsageError, match="37 and actions of 5 numbers, the dataset 28 and 5"):
        require_match(open_dataset(dataset), describe("cube-double-singletask-task1-v0"))


@pytest.mark.parametrize("name", [".", "dataset.json", "rewards.npy"])
def test_an_unreadable_data_set_is_named(
    dataset: Path, forbid: Callable[[Path], None], name: str
) -> None:
    forbid(dataset / name)
    with pytest.raises(RunError, match=r"(dataset\.json|rewards\.npy) cannot be read"):
        open_dataset(dataset)

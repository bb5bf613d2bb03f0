"""The description of a source matches what ingest writes, and no files are written."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.cli.main import main
from qc_core.config.settings import Config, DataConfig
from qc_core.data.dataset.dataset import Dataset, DatasetWriter, open_dataset
from qc_core.data.describe import EpisodeLengths, Size, describe_source
from qc_core.data.ingest import ingest
from qc_core.documents import Document, to_json
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from tests.conftest import random_episodes
from tests.qc_core.data.formats.test_lerobot import columns, write_folder
from tests.qc_core.data.formats.test_minari_dataset import ID, create
from tests.qc_core.data.formats.test_robomimic_hdf5 import write_file


def as_json(document: Document) -> dict[str, Any]:
    return json.loads(json.dumps(to_json(document)))


def lengths(dataset: Dataset) -> np.ndarray:
    return np.diff(np.flatnonzero(dataset.terminals), prepend=-1)


def solved_episodes(dataset: Dataset) -> int:
    ends = np.flatnonzero(dataset.terminals)
    return len(np.unique(np.searchsorted(ends, np.flatnonzero(dataset.masks == 0))))


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
@pytest.mark.parametrize("kind", ["robomimic", "lerobot", "minari", "dataset"])
def test_the_description_matches_the_ingested_data_set(
    tmp_path: Path, config: Config, dataset: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    if kind == "robomimic":
        source = str(write_file(tmp_path / "low_dim.hdf5"))
    elif kind == "lerobot":
        success = np.arange(12) == 3
        source = str(write_folder(tmp_path / "arm", columns(**{"next.success": success})))
    elif kind == "minari":
        create()
        source = f"minari:{ID}"
    else:
        source = str(dataset)
    before = sorted(tmp_path.rglob("*"))
    found = describe_source(source)
    assert sorted(tmp_path.rglob("*")) == before

    data = replace(config.data, source=(source,))
    info = ingest(replace(config, environment=str(found.environment), data=data), tmp_path / "d")
    made = open_dataset(tmp_path / "d")
    assert found.kind == kind
    described, ingested = as_json(found), as_json(info)
    for name in ("observation-names", "action-names", "action-low", "action-high"):
        assert described[name] == ingested[name], name
    for name in ("episode-limit", "control-interval-seconds"):
        assert described[name] == ingested[name], name
    # Without a simulator, ingest holds episodes out; the description counts all.
    held_out = made.validation if kind == "lerobot" else None
    parts = [made] if held_out is None else [made, held_out]
    of_episodes = np.concatenate([lengths(part) for part in parts])
    rewards = np.concatenate([part.rewards for part in parts])
    assert (found.transitions, found.episodes) == (len(rewards), len(of_episodes))
    assert found.reward_range == (rewards.min(), rewards.max())
    assert described["episode-lengths"] == {
        "min": of_episodes.min(),
        "median": np.median(of_episodes),
        "max": of_episodes.max(),
    }
    solved = sum(solved_episodes(part) for part in parts)
    # The terminations of the Minari dataset may be failures.
    assert found.solved_episodes == (None if kind == "minari" else solved)


def test_a_source_in_which_nothing_is_rewarded_is_noted(tmp_path: Path) -> None:
    found = describe_source(str(write_folder(tmp_path / "arm", columns())))
    assert found.notes[-1] == "every reward is 0: no step is rewarded"


def test_filters_are_listed_with_their_sizes(tmp_path: Path) -> None:
    found = describe_source(str(write_file(tmp_path / "low_dim.hdf5")))
    assert found.filters == {"few": 2, "lost": 2}
    assert found.source["demonstrations"] == 3


def npz(path: Path, rows: int, *, actions: int = 2) -> None:
    rng = np.random.default_rng(rows)
    np.savez(
        path,
        observations=rng.normal(size=(rows, 3)),
        actions=rng.uniform(-2, 1, (rows, actions)),
        terminals=np.arange(rows) % 5 == 4,
    )


def test_npz_shards_are_counted_together(tmp_path: Path) -> None:
    for name, rows in (("a-000", 10), ("a-001", 13), ("a-000-val", 5)):
        npz(tmp_path / f"{name}.npz", rows)
    found = describe_source(str(tmp_path))
    assert (found.environment, found.reward_range, found.solved_episodes) == (None,) * 3
    assert not {"observation-names", "action-names", "episode-limit"} & set(to_json(found))
    # The last episode of the second shard has no end but the file's.
    assert (found.transitions, found.episodes) == (4 + 4 + 4 + 4 + 2, 5)
    assert found.episode_lengths == EpisodeLengths(min=2, median=4, max=4)
    assert (found.observation_size, found.action_size) == (3, 2)
    assert found.validation == Size(transitions=4, episodes=1)
    drawn = [np.load(tmp_path / f"a-00{i}.npz")["actions"] for i in range(2)]
    assert found.action_low == np.concatenate(drawn).min(axis=0).tolist()
    npz(tmp_path / "a-002.npz", 10, actions=4)
    with pytest.raises(UsageError, match=r"a-002\.npz has observations and actions of \(3, 4\)"):
        describe_source(str(tmp_path))


def test_pipes_are_not_read(tmp_path: Path, dataset: Path) -> None:
    shards, copy = tmp_path / "shards", tmp_path / "copy"
    recorded = write_folder(tmp_path / "arm", columns())
    shards.mkdir()
    shutil.copytree(dataset, copy)
    for pipe in (shards / "a.npz", copy / "rewards.npy", *recorded.glob("data/*1/*.parquet")):
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    for source in (shards / "a.npz", shards, copy, recorded):
        with pytest.raises(UsageError, match="is not a file"):
            describe_source(str(source))


def test_timeouts_end_episodes(tmp_path: Path) -> None:
    ends = np.arange(1000) % 100 == 99
    rows: dict[str, Any] = {"observations": np.zeros((1000, 3)), "actions": np.zeros((1000, 2))}
    np.savez(tmp_path / "d4rl.npz", **rows, terminals=np.zeros(1000), timeouts=ends)
    found = describe_source(str(tmp_path / "d4rl.npz"))
    assert (found.transitions, found.episodes) == (990, 10)
    np.savez(tmp_path / "d4rl.npz", **rows, terminals=-1.0 * ends)
    with pytest.raises(UsageError, match="'terminals' must be 0 or 1 in every row"):
        describe_source(str(tmp_path / "d4rl.npz"))


def test_counts_do_not_depend_on_the_block_size(
    tmp_path: Path, spec: EnvironmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = random_episodes(spec, [4, 9, 2, 7])
    masks = np.ones(22, np.float32)
    masks[[5, 8, 14, 21]] = 0
    writer = DatasetWriter(tmp_path / "d", spec)
    writer.append(replace(episodes, masks=masks))
    writer.finish(DataSource())
    whole = describe_source(str(tmp_path / "d"))
    assert (whole.episodes, whole.solved_episodes) == (4, 3)
    assert whole.episode_lengths == EpisodeLengths(min=2, median=5.5, max=9)
    for rows in (1, 3, 7):
        monkeypatch.setattr("qc_core.data.describe._BLOCK_ROWS", rows)
        assert describe_source(str(tmp_path / "d")) == whole


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "low_dim.hdf5")
    monkeypatch.chdir(tmp_path)
    assert main(["describe", str(path)]) == 0
    table = capsys.readouterr().out
    assert "robomimic/lift-v0" in table and "few (2), lost (2)" in table
    assert main(["describe", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_json(describe_source(str(path)))
    assert list(tmp_path.iterdir()) == [path]


def test_control_characters_in_names_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = columns()
    folder = write_folder(tmp_path / "arm", arrays)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["action"]["names"] = ["\x1b[2Jx", "y\nz"]
    (folder / "meta/info.json").write_text(json.dumps(info))
    assert main(["describe", str(folder)]) == 0
    assert "?[2Jx, y?z" in capsys.readouterr().out


def test_describe_refuses_what_ingest_refuses(tmp_path: Path) -> None:
    file = str(write_file(tmp_path / "low_dim.hdf5"))
    config = replace(Config(), data=DataConfig(action=("actions",)))
    with pytest.raises(UsageError, match=r"leave out --data\.observation"):
        describe_source(file, config)
    with pytest.raises(UsageError, match="qc describe takes a path or minari:ID"):
        describe_source("s3://bucket/low_dim.hdf5")

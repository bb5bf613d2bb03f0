"""Valid uploads are ingested once; invalid uploads are quarantined with a reason."""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.ingest import ingest
from qc_core.data.uploads.episodes import list_episodes, push_episodes
from qc_core.errors import RunError, UsageError
from qc_core.store.objects import ObjectStore
from tests.conftest import ENVIRONMENT
from tests.qc_core.data.formats.test_ogbench_npz import play_file

Arrays = dict[str, Any]
CUBE = Config(environment=ENVIRONMENT)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return play_file(ENVIRONMENT, episodes=2, rows=11)


@pytest.fixture
def file(tmp_path: Path, arrays: Arrays) -> Path:
    np.savez_compressed(tmp_path / "good.npz", **arrays)
    return tmp_path / "good.npz"


def from_store(config: Config, *before: str) -> Config:
    return replace(config, data=replace(config.data, source=(*before, "store:episodes")))


def test_an_invalid_file_is_quarantined_and_valid_files_are_accepted(
    tmp_path: Path, store: ObjectStore, arrays: Arrays, file: Path
) -> None:
    np.savez(tmp_path / "bad.npz", **{**arrays, "actions": arrays["actions"] * 3})
    bad, good = push_episodes(store, CUBE, [tmp_path / "bad.npz", file])
    assert (bad.state, good.state, good.episodes) == ("quarantined", "accepted", 2)
    assert "bad.npz: actions must be within the bounds" in bad.reason
    assert str(tmp_path) not in bad.reason
    told = json.loads(store.get(bad.key.replace("episodes.npz", "REASON.json")))
    assert told["reason"] == bad.reason
    assert store.get(bad.key) == (tmp_path / "bad.npz").read_bytes()


def test_uploading_a_file_twice_stores_it_once(store: ObjectStore, file: Path) -> None:
    first = push_episodes(store, CUBE, [file, file])
    again = push_episodes(store, CUBE, [file])
    assert [upload.state for upload in (*first, *again)] == ["accepted", "known", "known"]
    assert [entry.environment for entry in list_episodes(store)] == [ENVIRONMENT]


def test_nothing_is_uploaded_if_a_file_is_missing(
    store: ObjectStore, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"none.npz does not exist"):
        push_episodes(store, CUBE, [file, tmp_path / "none.npz"])
    with pytest.raises(UsageError, match="unknown environment"):
        push_episodes(store, Config(environment="cube-singel-v0"), [file])
    assert list(list_episodes(store)) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_path_that_is_not_a_file_is_refused_as_such(
    tmp_path: Path, store: ObjectStore, file: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "data")
    with pytest.raises(UsageError, match="data is not a file"):
        push_episodes(store, CUBE, [file, tmp_path / "data"])
    assert not list(list_episodes(store))


def test_files_from_the_store_are_checked_when_downloaded(
    tmp_path: Path, store: ObjectStore, config: Config, arrays: Arrays, file: Path
) -> None:
    """Truncated, nonsense in a folder, of another zip, and a bomb that unpacks to terabytes."""
    push_episodes(store, CUBE, [file])
    whole = file.read_bytes()
    hostile = {"truncated.npz": whole[: len(whole) // 2], "a/b/odd name": b"nonsense"}
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("observations", "actions", "terminals", "qpos"):
            shape = (1 << 40, *arrays[name].shape[1:])
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
                member.write(bytes(1 << 22))
    # The version of zip that is needed to read it.
    later = bytearray(whole)
    later[whole.rindex(b"PK\x01\x02") + 6] = 200
    hostile["later.npz"] = bytes(later)
    hostile["bomb.npz"] = (tmp_path / "bomb.npz").read_bytes()
    for name, content in hostile.items():
        store.put(f"episodes/{ENVIRONMENT}/{name}", content)
    info = ingest(from_store(config), tmp_path / "data")
    assert info.episodes == 2 and info.source.kind == "store"
    assert open_dataset(tmp_path / "data", verify=True).transitions == 20
    listed = list(list_episodes(store))
    assert [entry.reason for entry in listed].count(None) == 1
    reasons = " ".join(entry.reason or "" for entry in listed)
    for name in hostile:
        assert name in reasons
    # The next one has nothing to say of them.
    assert ingest(from_store(config), tmp_path / "again").digest == info.digest


def test_other_sources_are_ingested_without_uploads(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    with pytest.raises(UsageError, match=r"no episodes of cube-single.* yet"):
        ingest(from_store(config), tmp_path / "none")
    info = ingest(from_store(config, str(dataset)), tmp_path / "data")
    assert info.transitions == open_dataset(dataset).transitions


def test_an_unreadable_file_is_not_quarantined(
    store: ObjectStore, file: Path, forbid: Callable[[Path], None]
) -> None:
    forbid(file)
    with pytest.raises(RunError, match=r"good\.npz cannot be read"):
        push_episodes(store, CUBE, [file])
    assert list(list_episodes(store)) == []

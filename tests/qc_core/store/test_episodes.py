"""Uploaded episodes: the good ones are learned from once, the bad ones are set apart and told."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.data.dataset import open_dataset
from qc_core.data.ingest import ingest
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config
from qc_core.store.episodes import list_episodes, push_episodes
from qc_core.store.objects import ObjectStore
from tests.conftest import ENVIRONMENT
from tests.qc_core.data.test_ogbench_npz import play_file

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return play_file(ENVIRONMENT, episodes=2, rows=11)


@pytest.fixture
def file(tmp_path: Path, arrays: Arrays) -> Path:
    np.savez_compressed(tmp_path / "good.npz", **arrays)
    return tmp_path / "good.npz"


def from_store(config: Config, *before: str) -> Config:
    return replace(config, data=replace(config.data, source=(*before, "store:episodes")))


def changed(arrays: Arrays, name: str, row: int, value: float) -> Arrays:
    values = np.array(arrays[name], np.float32)
    values[row] = value
    return {**arrays, name: values}


BAD = {
    "not finite": (lambda a: changed(a, "observations", 3, np.nan), "NaN or infinity in row 3"),
    "out of bounds": (lambda a: changed(a, "actions", 3, 1.5), "0.5 outside"),
    "no flag": (lambda a: changed(a, "terminals", 3, 0.5), "must be 0 or 1"),
    "cut off": (lambda a: {n: v[:-1] for n, v in a.items()}, "10 rows follow the last end"),
    "one row": (lambda a: changed(a, "terminals", 11, 1), "at least two rows, one has 1"),
    "too long": (
        lambda a: {
            n: np.repeat(v[:1] if n == "terminals" else v, 3000, 0)[:3000] for n, v in a.items()
        },
        "has at most 201 rows",
    ),
    "no state": (lambda a: {n: v for n, v in a.items() if n != "qpos"}, "'qpos' is missing"),
    "another robot's": (
        lambda a: {**a, "observations": a["observations"][:, 1:]},
        "observations of 28 numbers, the file [27]",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_goes_to_quarantine_with_the_reason(
    tmp_path: Path, store: ObjectStore, arrays: Arrays, file: Path, kind: str
) -> None:
    spoil, message = BAD[kind]
    np.savez(tmp_path / "bad.npz", **spoil(arrays))
    bad, good = push_episodes(store, ENVIRONMENT, [tmp_path / "bad.npz", file])
    assert (bad.state, good.state, good.episodes) == ("quarantined", "accepted", 2)
    assert message in bad.reason and str(tmp_path) not in bad.reason
    told = json.loads(store.get(bad.key.replace("episodes.npz", "REASON.json")))
    assert told["reason"] == bad.reason
    assert store.get(bad.key) == (tmp_path / "bad.npz").read_bytes()


def test_the_same_file_twice_adds_nothing(store: ObjectStore, file: Path) -> None:
    first = push_episodes(store, ENVIRONMENT, [file, file])
    again = push_episodes(store, ENVIRONMENT, [file])
    assert [upload.state for upload in (*first, *again)] == ["accepted", "known", "known"]
    assert [entry["environment"] for entry in list_episodes(store)] == [ENVIRONMENT]


def test_nothing_is_uploaded_where_a_file_is_missing(
    store: ObjectStore, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(WrongUse, match=r"none.npz does not exist"):
        push_episodes(store, ENVIRONMENT, [file, tmp_path / "none.npz"])
    with pytest.raises(WrongUse, match="unknown environment"):
        push_episodes(store, "cube-singel-v0", [file])
    assert list(list_episodes(store)) == []


def test_what_others_have_put_there_is_checked_on_arrival(
    tmp_path: Path, store: ObjectStore, config: Config, file: Path
) -> None:
    """A truncated upload, a name that climbs out of folders, and a bomb that unpacks to a lot."""
    push_episodes(store, ENVIRONMENT, [file])
    whole = file.read_bytes()
    hostile = {"truncated.npz": whole[: len(whole) // 2], "a/b/..name": b"nonsense"}
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("observations", "actions", "terminals", "qpos"):
            header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 28)}
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, header)
                member.write(bytes(1 << 20))
    hostile["bomb.npz"] = (tmp_path / "bomb.npz").read_bytes()
    for name, content in hostile.items():
        store.put(f"episodes/{ENVIRONMENT}/{name}", content)
    manifest = ingest(from_store(config), tmp_path / "data")
    assert manifest["episodes"] == 2 and manifest["source"]["kind"] == "store"
    assert open_dataset(tmp_path / "data", verify=True).transitions == 20
    listed = list(list_episodes(store))
    assert [entry["reason"] for entry in listed].count(None) == 1
    reasons = " ".join(entry["reason"] or "" for entry in listed)
    for name in hostile:
        assert name in reasons
    # The next one has nothing to say of them.
    assert ingest(from_store(config), tmp_path / "again")["digest"] == manifest["digest"]


def test_without_uploads_the_other_sources_go_on(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    with pytest.raises(WrongUse, match="no episodes of cube-single.* yet"):
        ingest(from_store(config), tmp_path / "none")
    manifest = ingest(from_store(config, str(dataset)), tmp_path / "data")
    assert manifest["transitions"] == open_dataset(dataset).transitions

"""Folders in a store are complete or absent; damage is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qc_core.errors import RunError
from qc_core.store.bundle import delete_folder, get_folder, put_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import open_store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "s3":
        request.getfixturevalue("s3_store")
    return open_store()


@pytest.fixture
def put(store: ObjectStore, tmp_path: Path) -> ObjectStore:
    """A store with a folder of two files under `a/b/`."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one").write_bytes(b"1" * 50)
    (folder / "two").write_bytes(b"2")
    put_folder(store, "a/b/", folder)
    return store


def test_a_folder_is_downloaded_unchanged_and_deleted_completely(
    put: ObjectStore, tmp_path: Path
) -> None:
    get_folder(put, "a/b/", tmp_path / "back")
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == {
        "one": b"1" * 50,
        "two": b"2",
    }
    put.put("a/c", b"another's")
    delete_folder(put, "a/b/")
    assert list(put.keys("a/")) == ["a/c"]
    assert put.folders("a/") == []
    with pytest.raises(NoSuchObject):
        get_folder(put, "a/b/", tmp_path / "gone")


def test_a_folder_without_a_manifest_does_not_exist(put: ObjectStore, tmp_path: Path) -> None:
    put.delete("a/b/manifest.json")
    put.delete("a/b/manifest.json")
    with pytest.raises(NoSuchObject):
        get_folder(put, "a/b/", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda store: store.delete("a/b/one"), "a/b/one is missing"),
        (lambda store: store.put("a/b/one", b"1"), "a/b/one is truncated: 50 bytes"),
        (lambda store: store.put("a/b/one", b"2" * 50), "a/b/one is altered"),
        (lambda store: store.put("a/b/manifest.json", b'{"files'), r"manifest\.json .* is damaged"),
        (lambda store: store.put("a/b/manifest.json", b"[]"), r"manifest\.json .* is damaged"),
        (
            lambda store: store.put("a/b/manifest.json", b"[" * 100_000),
            r"manifest\.json .* is damaged",
        ),
        (
            lambda store: store.put(
                "a/b/manifest.json", b'{"files": {"../one": {"bytes": 1, "sha256": ""}}}'
            ),
            r"manifest\.json .* is damaged",
        ),
    ],
)
def test_damage_is_named_and_no_output_remains(
    put: ObjectStore, tmp_path: Path, spoil: Callable[[ObjectStore], None], message: str
) -> None:
    spoil(put)
    with pytest.raises(RunError, match=message):
        get_folder(put, "a/b/", tmp_path / "back")
    assert not (tmp_path / "back").exists()

"""The cache downloads each version once and never uses an old version silently."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.registry.cache import cached_policy
from qc_core.registry.registry import Registry
from qc_core.runtime import ChunkPolicy
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "q-chunking" / "policies"


@pytest.fixture
def version(policy: Path) -> str:
    """The champion `cube` of a folder store."""
    return published(policy)


def published(policy: Path) -> str:
    registry = Registry(open_store())
    version = registry.publish(policy, "cube")
    registry.set_alias("cube", "champion", version)
    return version


def other_than(policy: Path, folder: Path) -> Path:
    shutil.copytree(policy, folder)
    (folder / "model-card.md").write_text("another")
    write_checksums(folder)
    return folder


def test_a_version_is_downloaded_once_and_looked_up_each_time(
    policy: Path, version: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls: list[str] = []
    pull = Registry.pull

    def counted(self: Registry, reference: str, output: Path) -> tuple[str, str]:
        pulls.append(reference)
        return pull(self, reference, output)

    monkeypatch.setattr(Registry, "pull", counted)
    for reference in ("cube@champion", "cube", f"cube:{version}"):
        assert cached_policy(reference) == cache / "cube" / version
    assert pulls == [f"cube:{version}"]
    second = published(other_than(policy, tmp_path / "other"))
    assert second != version
    assert cached_policy("cube@champion") == cache / "cube" / second
    assert sorted(os.listdir(cache / "cube")) == sorted([version, second])


def test_using_the_latest_version_without_a_champion_is_logged(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(open_store())
    registry.set_alias("cube", "latest", registry.publish(policy, "cube"))
    ChunkPolicy.load("cube")
    assert capsys.readouterr().err.count("cube has no champion: using its latest version") == 1


def test_a_policy_is_loaded_by_name_from_a_bucket(s3_store: str, policy: Path) -> None:
    published(policy)
    by_name, by_folder = ChunkPolicy.load("cube@champion", seed=0), ChunkPolicy.load(policy, seed=0)
    np.testing.assert_array_equal(by_name.act(np.zeros(28)), by_folder.act(np.zeros(28)))


def test_an_existing_folder_takes_precedence_over_a_name(
    version: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cube").mkdir()
    with pytest.raises(UsageError, match="cube is not a policy folder"):
        ChunkPolicy.load("cube")
    assert not cache.exists()
    (tmp_path / "cube").rmdir()
    ChunkPolicy.load("cube")
    with pytest.raises(UsageError, match="is not a policy folder"):
        ChunkPolicy.load(Path("cube"))


@pytest.mark.parametrize(
    "reference", ["none", "cube@none", "cube:none", "./cube", "a/b", "~", "", "x" * 5000, "a\0b"]
)
def test_an_unknown_policy_is_one_line(version: str, cache: Path, reference: str) -> None:
    with pytest.raises(UsageError, match="there is no folder") as refusal:
        ChunkPolicy.load(reference)
    assert "\n" not in str(refusal.value)
    assert not cache.exists()


def test_a_cached_version_is_not_used_if_the_store_does_not_answer(
    s3_store: str, policy: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = published(policy)
    cached_policy("cube")
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.3")
    with pytest.raises(
        RunError, match=r"does not answer.*The cached version may be outdated"
    ) as refusal:
        ChunkPolicy.load("cube@champion")
    kept = cache / "cube" / version
    assert f"to use it anyway, load {kept}" in str(refusal.value)
    ChunkPolicy.load(kept)
    with pytest.raises(RunError, match="does not answer") as refusal:
        ChunkPolicy.load("never-loaded")
    assert "kept" not in str(refusal.value)


def test_a_damaged_copy_is_downloaded_again(version: str, policy: Path) -> None:
    folder = cached_policy("cube")
    (folder / "policy.onnx").write_bytes(b"")
    (folder / "model-card.md").unlink()
    cached_policy("cube")
    assert (folder / "policy.onnx").read_bytes() == (policy / "policy.onnx").read_bytes()
    ChunkPolicy.load(folder)


def test_a_cached_version_of_another_store_is_not_used(
    version: str, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached_policy("cube")
    other = other_than(policy, tmp_path / "other")
    store = tmp_path / "other-store"
    monkeypatch.setenv("QC_STORE", str(store))
    second = published(other)
    versions = store / "policies" / "cube" / "versions"
    (versions / second).rename(versions / version)
    assert cached_policy(f"cube:{version}") == folder
    assert (folder / "model-card.md").read_text() == "another"


def test_an_interrupted_download_leaves_nothing(version: str, cache: Path) -> None:
    store: ObjectStore = open_store()
    store.put(f"policies/cube/versions/{version}/policy.onnx", b"short")
    with pytest.raises(RunError, match="is truncated"):
        ChunkPolicy.load("cube")
    assert list((cache / "cube").iterdir()) == []


def test_many_processes_can_download_at_once(
    version: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_fetched = threading.Barrier(4)
    pull = Registry.pull

    def together(self: Registry, reference: str, output: Path) -> tuple[str, str]:
        pulled = pull(self, reference, output)
        all_have_fetched.wait(timeout=30)
        return pulled

    monkeypatch.setattr(Registry, "pull", together)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(cached_policy, ["cube"] * 4))
    assert folders == {cache / "cube" / version}
    assert os.listdir(cache / "cube") == [version]
    ChunkPolicy.load("cube")


def test_many_processes_can_replace_a_damaged_copy_at_once(
    version: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process replaces the copy, and the others accept it."""
    (cached_policy("cube") / "policy.onnx").write_bytes(b"")
    all_have_fetched = threading.Barrier(4)
    pull, is_copy, whole = Registry.pull, Registry.is_copy, list[bool]()

    def together(self: Registry, reference: str, output: Path) -> tuple[str, str]:
        pulled = pull(self, reference, output)
        all_have_fetched.wait(timeout=30)
        return pulled

    def slowly(self: Registry, folder: Path, name: str, version: str) -> bool:
        answer = is_copy(self, folder, name, version)
        whole.append(answer)
        time.sleep(0.05)
        return answer

    monkeypatch.setattr(Registry, "pull", together)
    monkeypatch.setattr(Registry, "is_copy", slowly)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(cached_policy, ["cube"] * 4))
    # Each process found it damaged; the first one checked again under the lock.
    assert sorted(whole) == [False] * 5 + [True] * 3
    assert folders == {cache / "cube" / version}
    assert os.listdir(cache / "cube") == [version]


def test_an_unwritable_cache_is_named(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        ChunkPolicy.load("cube")

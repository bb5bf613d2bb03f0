"""Versions are deleted completely, and never while an alias names them."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest

from qc_core.cli.main import main
from qc_core.errors import RunError, UsageError
from qc_core.registry import registry as registry_module
from qc_core.registry.gate_record import write_gate_record
from qc_core.registry.manifest import is_lasting
from qc_core.registry.registry import Registry
from qc_core.registry.removal import delete_version, prune
from qc_core.store.objects import ObjectStore
from tests.qc_core.registry.meddling import Meddling
from tests.qc_core.registry.test_gate_record import RECORD


def names(registry: Registry) -> list[str]:
    return [version.version for version in registry.versions("cube")]


def ago(**age: float) -> str:
    return f"{datetime.now(timezone.utc) - timedelta(**age):%Y%m%dT%H%M%S}-00000000"


def settled(registry: Registry, store: ObjectStore, folder: Path, count: int) -> list[str]:
    """Versions with a gate record."""
    versions = [registry.publish(folder, "cube") for _ in range(count)]
    for version in versions:
        write_gate_record(store, "cube", version, RECORD)
    return versions


def test_deleting_a_version_removes_its_files(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    gone, kept = (registry.publish(small_policy, "cube") for _ in range(2))
    delete_version(store, "cube", gone)
    assert names(registry) == [kept]
    assert not [key for key in store.keys("policies/") if gone in key]
    with pytest.raises(UsageError, match=f"no version '{gone}'"):
        delete_version(store, "cube", gone)


def test_a_version_that_an_alias_names_is_not_deleted(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    for alias in ("latest", "champion"):
        registry.set_alias("cube", alias, version)
    with pytest.raises(UsageError, match=r"is cube@champion and cube@latest: move the alias"):
        delete_version(store, "cube", version)
    assert names(registry) == [version]
    assert is_lasting(store, "cube", version)


def test_a_version_whose_manifest_is_damaged_can_be_deleted(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    old, damaged, named, new = settled(registry, store, small_policy, 4)
    registry.set_alias("cube", "champion", named)
    for version in (damaged, named):
        store.put(f"policies/cube/versions/{version}/manifest.json", b"")
    assert prune(store, "cube", keep=1).versions == (old,)
    assert main(["policies", "delete", f"cube:{damaged}"]) == 0
    with pytest.raises(UsageError, match="is cube@champion: move the alias"):
        delete_version(store, "cube", named)
    assert set(store.folders("policies/cube/versions/")) == {named, new}


def test_pulling_a_version_that_is_deleted_meanwhile_is_one_line(
    registry: Registry, store: ObjectStore, small_policy: Path, tmp_path: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    between = Meddling(
        store, "get_file", "golden.npz", lambda: delete_version(store, "cube", version)
    )
    with pytest.raises(RunError, match=f"cube:{version} has just been deleted"):
        Registry(cast(ObjectStore, between)).pull(f"cube:{version}", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_an_interrupted_deletion_can_be_repeated(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    version = registry.publish(small_policy, "cube")
    for method, part in (("keys", "aliases/"), ("delete_folder", version)):
        broken = cast(ObjectStore, Meddling(store, method, part, killed))
        with pytest.raises(KeyboardInterrupt):
            delete_version(broken, "cube", version)
    # The manifest is deleted first; the remaining files are not a version.
    assert names(registry) == []
    assert [key for key in store.keys("policies/") if version in key]


def test_the_mark_of_an_interrupted_deletion_expires(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    mark = f"policies/cube/versions/{version}/deleting/"
    store.put(mark + ago(minutes=5), b"")
    with pytest.raises(UsageError, match="is being deleted"):
        registry.set_alias("cube", "champion", version)
    store.delete_folder(mark)
    store.put(mark + ago(hours=2), b"")
    registry.set_alias("cube", "champion", version)
    assert registry.alias("cube", "champion") == version


def test_pruning_keeps_the_newest_the_named_and_the_rollback_version(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    a, b, c, d, e, f = settled(registry, store, small_policy, 6)
    assert names(registry) == [a, b, c, d, e, f]
    for version in (a, b, d):
        registry.set_alias("cube", "champion", version)
    assert prune(store, "cube", keep=2).versions == (a, c)
    assert names(registry) == [b, d, e, f]
    assert registry.roll_back("cube", "champion") == (d, b)
    assert prune(store, "cube", keep=1).versions == (d, e)
    assert prune(store, "cube", keep=1).versions == ()
    with pytest.raises(UsageError, match="--keep must be at least 1, got 0"):
        prune(store, "cube", keep=0)
    with pytest.raises(UsageError, match="no policy 'cubic'"):
        prune(store, "cubic", keep=1)
    assert names(registry) == [b, f]


def test_pruning_keeps_a_version_that_an_alias_names_meanwhile(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    a, b = settled(registry, store, small_policy, 2)
    between = Meddling(
        store, "put", f"{a}/deleting", lambda: registry.set_alias("cube", "champion", a)
    )
    assert prune(cast(ObjectStore, between), "cube", keep=1).versions == ()
    assert between.meddled and names(registry) == [a, b]


def test_pruning_keeps_versions_that_may_be_at_the_gate(
    registry: Registry, store: ObjectStore, small_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(registry_module, "new_stamp", lambda: ago(hours=25))
        never_compared = registry.publish(small_policy, "cube")
    first, _ = settled(registry, store, small_policy, 2)
    registry.set_alias("cube", "champion", first)
    playing, newest = (registry.publish(small_policy, "cube") for _ in range(2))
    registry.set_alias("cube", "latest", newest)
    prune(store, "cube", keep=1)
    assert names(registry) == [first, playing, newest]
    assert never_compared not in store.folders("policies/cube/versions/")
    assert registry.replace_alias("cube", "champion", playing, first)


def test_pruning_removes_old_interrupted_uploads(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    registry.publish(small_policy, "cube")
    old, new = ago(hours=25), ago(hours=23)
    for version in (old, new, "mine"):
        store.put(f"policies/cube/versions/{version}/policy.onnx", b"half")
    pruned = prune(store, "cube", keep=1)
    assert (pruned.versions, pruned.leftovers) == ((), (old,))
    assert new in store.folders("policies/cube/versions/")
    assert old not in store.folders("policies/cube/versions/")

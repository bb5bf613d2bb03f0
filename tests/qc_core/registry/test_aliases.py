"""Aliases move atomically, have a history and never name a deleted version."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from qc_core.errors import RunError, UsageError
from qc_core.registry import aliases as alias_module
from qc_core.registry.aliases import HISTORY, Alias, Aliases
from qc_core.registry.registry import Registry
from qc_core.registry.removal import delete_version
from qc_core.store.objects import ObjectStore
from tests.qc_core.registry.meddling import Meddling


@pytest.fixture
def versions(registry: Registry, small_policy: Path) -> list[str]:
    return [registry.publish(small_policy, "cube") for _ in range(4)]


def history(store: ObjectStore, alias: str = "champion") -> list[str | None]:
    said = Aliases(store, "cube").read(alias)
    return [said.version, *(entry.version for entry in said.previous)]


def registry_on(store: Any) -> Registry:
    return Registry(cast(ObjectStore, store))


def test_an_alias_is_rolled_back_step_by_step(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    a, b, c, _ = versions
    for version in (a, b, b, c):
        registry.set_alias("cube", "champion", version)
    assert history(store) == [c, b, a]
    assert registry.roll_back("cube", "champion") == (c, b)
    assert registry.roll_back("cube", "champion") == (b, a)
    assert history(store) == [a]
    with pytest.raises(UsageError, match=f"champion is {a}, .* nothing to roll back to"):
        registry.roll_back("cube", "champion")
    assert history(store) == [a]


def test_an_alias_is_replaced_only_if_it_names_the_expected_version(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    a, b, c, _ = versions
    assert registry.replace_alias("cube", "champion", a, None)
    assert not registry.replace_alias("cube", "champion", b, None)
    assert not registry.replace_alias("cube", "champion", b, c)
    assert registry.replace_alias("cube", "champion", b, a)
    assert history(store) == [b, a]


def test_a_concurrent_change_is_not_overwritten(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    a, b, c, d = versions
    registry.set_alias("cube", "champion", a)
    between = Meddling(
        store, "put_if", "champion", lambda: registry.set_alias("cube", "champion", b)
    )
    registry_on(between).set_alias("cube", "champion", c)
    assert history(store) == [c, b, a]
    between = Meddling(
        store, "put_if", "champion", lambda: registry.set_alias("cube", "champion", d)
    )
    assert not registry_on(between).replace_alias("cube", "champion", b, c)
    assert between.meddled and history(store) == [d, c, b, a]


def test_rollback_skips_deleted_versions(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    a, b, c, d = versions
    for version in versions:
        registry.set_alias("cube", "champion", version)
    delete_version(store, "cube", b)
    delete_version(store, "cube", c)
    assert registry.roll_back("cube", "champion") == (d, a)


def test_rollback_returns_the_version_it_ends_at(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    """Versions are deleted at the moment when the alias is moved to them."""
    a, b, c, _ = versions
    for version in (a, b, c):
        registry.set_alias("cube", "champion", version)
    between = Meddling(store, "put_if", "champion", lambda: delete_version(store, "cube", b))
    assert registry_on(between).roll_back("cube", "champion") == (c, a)
    assert history(store) == [a]
    registry.set_alias("cube", "champion", c)
    between = Meddling(store, "put_if", "champion", lambda: delete_version(store, "cube", a))
    with pytest.raises(UsageError, match=f"was {c}, every version before it has just been deleted"):
        registry_on(between).roll_back("cube", "champion")
    assert history(store) == [None]


@pytest.mark.parametrize("moment", ["before it looks", "after it looked"])
def test_an_alias_never_names_a_version_that_is_being_deleted(
    registry: Registry, store: ObjectStore, versions: list[str], moment: str
) -> None:
    """In any order, a version exists if an alias names it."""
    a, b, *_ = versions
    registry.set_alias("cube", "champion", a)

    def move() -> None:
        with pytest.raises(UsageError, match="is being deleted"):
            registry.set_alias("cube", "champion", b)

    method, part = ("keys", "aliases/") if moment == "before it looks" else ("delete", "manifest")
    between = Meddling(store, method, part, move)
    delete_version(cast(ObjectStore, between), "cube", b)
    assert between.meddled
    assert registry.alias("cube", "champion") == a
    assert b not in [version.version for version in registry.versions("cube")]


@pytest.mark.parametrize("first", [True, False])
def test_an_alias_moves_back_if_its_version_is_deleted_meanwhile(
    registry: Registry, store: ObjectStore, versions: list[str], first: bool
) -> None:
    a, b, *_ = versions
    if not first:
        registry.set_alias("cube", "champion", a)
    between = Meddling(store, "put_if", "champion", lambda: delete_version(store, "cube", b))
    with pytest.raises(UsageError, match=f"{b} is being deleted"):
        registry_on(between).set_alias("cube", "champion", b)
    assert between.meddled
    assert registry.alias("cube", "champion") == (None if first else a)
    assert "champion" not in Aliases(store, "cube").all() or not first


def test_a_deletion_that_sees_the_alias_keeps_the_version(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    """The deletion reads the aliases after the move, before the move checks for deletions."""
    b = versions[1]

    def delete() -> None:
        with pytest.raises(UsageError, match="is cube@champion: move the alias first"):
            delete_version(store, "cube", b)

    between = Meddling(store, "keys", f"{b}/", delete, skip=1)
    registry_on(between).set_alias("cube", "champion", b)
    assert between.meddled
    assert registry.alias("cube", "champion") == b
    assert b in [version.version for version in registry.versions("cube")]


def test_a_history_is_bounded() -> None:
    alias = Alias(version=None)
    for number in range(HISTORY + 9):
        alias = alias.moved_to(f"v{number}")
    assert len(alias.previous) == HISTORY
    assert alias.previous[0].version == f"v{HISTORY + 7}"


def test_an_alias_without_times_and_history_is_read(
    registry: Registry, store: ObjectStore, versions: list[str]
) -> None:
    a, b, *_ = versions
    content = json.dumps({"version": a}).encode()
    store.put("policies/cube/aliases/champion.json", content)
    registry.set_alias("cube", "champion", b)
    assert registry.roll_back("cube", "champion") == (b, a)


def test_an_alias_that_others_change_constantly_is_an_error(
    registry: Registry,
    store: ObjectStore,
    versions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alias_module, "_ATTEMPTS", 3)
    monkeypatch.setattr(alias_module, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(type(store), "put_if", lambda *_: False)
    with pytest.raises(RunError, match="was changed by others 3 times in a row"):
        registry.set_alias("cube", "champion", versions[0])

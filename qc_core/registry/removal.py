"""Deletes versions that no alias names; readers never see a half-deleted version."""

from __future__ import annotations

from datetime import timedelta

from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.registry.aliases import Aliases
from qc_core.registry.gate_record import has_gate_record
from qc_core.registry.manifest import (
    deleting_prefix,
    is_lasting,
    manifest_key,
    require_version,
    version_prefix,
    versions_prefix,
)
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.timestamps import new_stamp, older_than

# Neither an upload nor the match after it takes so long. An older version without a manifest or a
# gate record was interrupted.
_PUBLISHING = timedelta(days=1)


class Pruned(Document, frozen=True, kw_only=True):
    """The versions that `prune` deleted.

    Attributes:
        leftovers: versions whose upload was never finished.
    """

    versions: tuple[str, ...]
    leftovers: tuple[str, ...]


def delete_version(store: ObjectStore, name: str, version: str) -> None:
    """Delete a version that no alias names, its manifest first.

    A deletion writes a mark and then reads the aliases. A move of an alias writes the alias and
    then looks for marks; if it finds one, it moves the alias back. So in any order one of them
    sees the other, and no alias ends up at a deleted version.

    Raises:
        UsageError: there is no such version, or an alias names it.
    """
    require_version(store, name, version)
    mark = deleting_prefix(name, version) + new_stamp()
    store.put(mark, b"")
    aliases = Aliases(store, name).all()
    named = [f"{name}@{alias}" for alias, entry in aliases.items() if entry.version == version]
    if named:
        store.delete(mark)
        raise UsageError(
            f"{name}:{version} is {' and '.join(named)}: move the alias first (`qc rollback`)"
        )
    store.delete(manifest_key(name, version))
    store.delete_folder(version_prefix(name, version))


def prune(store: ObjectStore, name: str, keep: int) -> Pruned:
    """Delete old versions of a name, and uploads that were interrupted over a day ago.

    The newest `keep` versions remain. So do all versions that an alias names, the version to which
    the champion would be rolled back, and versions that may be at the gate now.

    Raises:
        UsageError: no policy has that name, or `keep` is below 1.
    """
    if keep < 1:
        raise UsageError(f"--keep must be at least 1, got {keep}")
    versions = Registry(store).versions(name)
    champion = Aliases(store, name).read(CHAMPION)
    protected = {entry.version for entry in versions[-keep:]}
    protected.add(champion.back(lambda version: is_lasting(store, name, version)).version or "")
    deleted = []
    for entry in versions:
        if entry.aliases or entry.version in protected or _at_the_gate(store, name, entry.version):
            continue
        try:
            delete_version(store, name, entry.version)
        except UsageError:
            # An alias names it now, or another process has deleted it.
            continue
        deleted.append(entry.version)
    return Pruned(versions=tuple(deleted), leftovers=tuple(_remove_leftovers(store, name)))


def _at_the_gate(store: ObjectStore, name: str, version: str) -> bool:
    """Return whether a version may still be playing against the champion."""
    return not older_than(version, _PUBLISHING) and not has_gate_record(store, name, version)


def _remove_leftovers(store: ObjectStore, name: str) -> list[str]:
    deleted = []
    for version in store.folders(versions_prefix(name)):
        if not older_than(version, _PUBLISHING):
            continue
        try:
            store.get(manifest_key(name, version))
        except NoSuchObject:
            store.delete_folder(version_prefix(name, version))
            deleted.append(version)
    return deleted

"""Versions go only when nothing names them, and never half."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

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

# No publishing takes so long, and no match after it: without a manifest, or a gate's record, by
# now, it was broken off.
_PUBLISHING = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is gone.

    Attributes:
        leftovers: versions that never were whole.
    """

    versions: tuple[str, ...]
    leftovers: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"versions": list(self.versions), "leftovers": list(self.leftovers)}


def delete_version(store: ObjectStore, name: str, version: str) -> None:
    """Delete a version that no alias names: its manifest first, so that readers see none of it.

    Before it looks at the aliases it leaves a mark. Who moves an alias looks for marks after
    moving it, and moves it back where there is one. Whichever comes first, one sees the other,
    so no alias comes to name a version that goes.

    Raises:
        UsageError: there is no such version, or an alias names it.
    """
    require_version(store, name, version)
    mark = deleting_prefix(name, version) + new_stamp()
    store.put(mark, b"")
    aliases = Aliases(store, name).all()
    named = [f"{name}@{alias}" for alias, said in aliases.items() if said.version == version]
    if named:
        store.delete(mark)
        raise UsageError(
            f"{name}:{version} is {' and '.join(named)}: move the alias first "
            "(`qc rollback`)"
        )
    store.delete(manifest_key(name, version))
    store.delete_folder(version_prefix(name, version))


def prune(store: ObjectStore, name: str, keep: int) -> Pruned:
    """Delete old versions of a name, and what publishings of days ago left half done.

    The newest `keep` stay, and every version that an alias names, the one to which the champion
    would be rolled back, and those that may be at the gate just now.

    Raises:
        UsageError: no policy has that name, or none is to be kept.
    """
    if keep < 1:
        raise UsageError(f"--keep must be at least 1, got {keep}")
    versions = Registry(store).versions(name)
    champion = Aliases(store, name).read(CHAMPION)
    kept = {entry.version for entry in versions[-keep:]}
    kept.add(champion.back(lambda version: is_lasting(store, name, version)).version or "")
    gone = []
    for entry in versions:
        if entry.aliases or entry.version in kept or _at_the_gate(store, name, entry.version):
            continue
        try:
            delete_version(store, name, entry.version)
        except UsageError:
            # Since it was listed an alias has come to name it, or another has deleted it.
            continue
        gone.append(entry.version)
    return Pruned(tuple(gone), tuple(_remove_leftovers(store, name)))


def _at_the_gate(store: ObjectStore, name: str, version: str) -> bool:
    """Whether a version may still be playing for the champion's place."""
    return not older_than(version, _PUBLISHING) and not has_gate_record(store, name, version)


def _remove_leftovers(store: ObjectStore, name: str) -> list[str]:
    gone = []
    for version in store.folders(versions_prefix(name)):
        if not older_than(version, _PUBLISHING):
            continue
        try:
            store.get(manifest_key(name, version))
        except NoSuchObject:
            store.delete_folder(version_prefix(name, version))
            gone.append(version)
    return gone

"""Aliases: small objects that name a version and the versions before it.

policies/NAME/aliases/ALIAS.json  {"version", "updated", "previous": [{"version", "updated"}, …]}

Every change is a compare-and-set against what was read, so concurrent changes are applied one
after the other and none is lost. After each change the code checks whether a deletion of the
version has started, so an alias never ends up at a deleted version.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timezone

from qc_core import documents
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import RunError, UsageError
from qc_core.names import is_name
from qc_core.registry.manifest import is_lasting, read_manifest
from qc_core.store.objects import NoSuchObject, ObjectStore

HISTORY = 100
_ATTEMPTS = 200
_PAUSE_SECONDS = 0.05


class AliasEntry(Document, frozen=True, kw_only=True):
    """A version that an alias names or named.

    Attributes:
        updated: since when, ISO 8601 in UTC; empty if it is unknown.
    """

    version: str
    # The first aliases had no time.
    updated: str = ""

    def __post_init__(self) -> None:
        if not is_name(self.version.lower()):
            raise InvalidDocument(f"{self.version[:100]!r} is not a version")


class Alias(Document, frozen=True, kw_only=True):
    """The state of one alias.

    Attributes:
        version: None while the alias names nothing.
        updated: since when it names this version, ISO 8601 in UTC.
        previous: the versions that it named before, newest first, at most `HISTORY`.
    """

    version: str | None
    updated: str | None = None
    previous: tuple[AliasEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.version is not None and not is_name(self.version.lower()):
            raise InvalidDocument(f"{self.version[:100]!r} is not a version")

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that it names and named, newest first."""
        return tuple(entry.version for entry in self._entries)

    def moved_to(self, version: str) -> Alias:
        """Return the alias after it moves to a version."""
        if version == self.version:
            return self
        return _moved_now(version, self._entries[:HISTORY])

    def back(self, usable: Callable[[str], bool]) -> Alias:
        """Return the alias at its newest previous version that is usable, or at none."""
        for index, entry in enumerate(self.previous):
            if usable(entry.version):
                return _moved_now(entry.version, self.previous[index + 1 :])
        return Alias(version=None)

    @property
    def _entries(self) -> tuple[AliasEntry, ...]:
        if self.version is None:
            return self.previous
        return (AliasEntry(version=self.version, updated=self.updated or ""), *self.previous)


class Aliases:
    """The aliases of one policy in a store."""

    def __init__(self, store: ObjectStore, policy: str) -> None:
        self._store, self._policy = store, policy
        self._prefix = f"policies/{policy}/aliases/"

    def read(self, alias: str) -> Alias:
        """Return the state of an alias; an alias that does not exist names nothing."""
        return self._read(alias)[0]

    def all(self) -> dict[str, Alias]:
        """Return the aliases that name a version, by name."""
        names = sorted(
            key.removeprefix(self._prefix).removesuffix(".json")
            for key in self._store.keys(self._prefix)
        )
        found = {name: self.read(name) for name in names if is_name(name)}
        return {name: alias for name, alias in found.items() if alias.version is not None}

    def move(self, alias: str, version: str, allowed: Callable[[str | None], bool]) -> bool:
        """Point an alias at a version.

        Args:
            allowed: whether the alias may move away from the version that it names now.

        Returns:
            Whether the move was allowed.

        Raises:
            UsageError: there is no such version, or it is being deleted.
            RunError: other writers changed the alias too often.
        """
        self._require_lasting(version)
        before, _ = self._change(
            alias, lambda now: now.moved_to(version) if allowed(now.version) else now
        )
        if not allowed(before.version):
            return False
        if self._leave_deleted(alias, version) != version:
            raise self._being_deleted(version)
        return True

    def roll_back(self, alias: str) -> tuple[str, str]:
        """Point an alias at its previous version that still exists.

        Returns:
            (the version before, the version now)

        Raises:
            UsageError: it names nothing, or has no previous version.
            RunError: other writers changed the alias too often.
        """
        before, after = self._change(alias, self._previous)
        if before.version is None or after.version is None or after == before:
            raise UsageError(
                f"{self._policy}@{alias} is {before.version}, and no earlier version exists: "
                "there is nothing to roll back to"
            )
        version = self._leave_deleted(alias, after.version)
        if version is None:
            raise UsageError(
                f"{self._policy}@{alias} was {before.version}, every version before it has just "
                "been deleted, and now it names none: promote another"
            )
        return before.version, version

    def _previous(self, alias: Alias) -> Alias:
        """Return the alias at its previous version, or unchanged if it has none."""
        previous = alias.back(self._lasting)
        return alias if previous.version is None else previous

    def _leave_deleted(self, alias: str, version: str | None) -> str | None:
        """Move an alias back from versions whose deletion started while it was moved.

        Args:
            version: the version that the alias was moved to.

        Returns:
            The version that the alias names now, usually the same.
        """
        while version is not None and not self._lasting(version):
            _, after = self._change(
                alias,
                lambda now, gone=version: now.back(self._lasting) if now.version == gone else now,
            )
            version = after.version
        return version

    def _lasting(self, version: str) -> bool:
        return is_lasting(self._store, self._policy, version)

    def _require_lasting(self, version: str) -> None:
        if not self._lasting(version):
            read_manifest(self._store, self._policy, version)
            raise self._being_deleted(version)

    def _being_deleted(self, version: str) -> UsageError:
        return UsageError(f"{self._policy}:{version} is being deleted: choose another version")

    def _change(self, alias: str, change: Callable[[Alias], Alias]) -> tuple[Alias, Alias]:
        """Change an alias; if another writer changes it first, apply the change to that state.

        Returns:
            (the state before, the state after)
        """
        for _ in range(_ATTEMPTS):
            before, tag = self._read(alias)
            after = change(before)
            if after == before:
                return before, after
            if self._store.put_if(self._key(alias), documents.encode(after), tag):
                return before, after
            time.sleep(random.uniform(0, _PAUSE_SECONDS))
        raise RunError(
            f"{self._key(alias)} in {self._store.describe()} was changed by others "
            f"{_ATTEMPTS} times in a row: try again later"
        )

    def _key(self, alias: str) -> str:
        return f"{self._prefix}{alias}.json"

    def _read(self, alias: str) -> tuple[Alias, str | None]:
        try:
            content, tag = self._store.get_tagged(self._key(alias))
        except NoSuchObject:
            return Alias(version=None), None
        try:
            return documents.parse(content, Alias, self._key(alias)), tag
        except UsageError as error:
            raise RunError(
                f"{self._key(alias)} in {self._store.describe()} is not an alias"
            ) from error


def _moved_now(version: str, previous: tuple[AliasEntry, ...]) -> Alias:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Alias(version=version, updated=now, previous=previous)

"""Aliases: small objects that name a version, remember those before it, and move at once.

policies/NAME/aliases/ALIAS.json  {"version", "updated", "previous": [{"version", "updated"}, …]}

Every change is a compare-and-set against what was read: of changes at the same time each is made
to what the other left, and none is lost. After each change it is looked whether a deletion of the
version had begun meanwhile, so that no alias comes to name a version that goes.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields
from qc_core.names import is_name, require_name
from qc_core.registry.manifest import is_lasting, read_manifest
from qc_core.store.objects import NoSuchObject, ObjectStore

HISTORY = 100
_ATTEMPTS = 200
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Pointed:
    """A version that an alias names or named, and since when."""

    version: str
    updated: str

    def as_dict(self) -> dict[str, str]:
        return {"version": self.version, "updated": self.updated}


@dataclass(frozen=True, slots=True)
class Alias:
    """What one alias says.

    Attributes:
        now: None while it names nothing.
        previous: what it named before, newest first, at most `HISTORY`.
    """

    now: Pointed | None = None
    previous: tuple[Pointed, ...] = ()

    @property
    def version(self) -> str | None:
        return self.now and self.now.version

    @property
    def versions(self) -> tuple[str, ...]:
        """What it names and named, newest first."""
        return tuple(entry.version for entry in (self.now, *self.previous) if entry)

    def moved_to(self, version: str) -> Alias:
        """Itself if it names that version already."""
        if version == self.version:
            return self
        before = (self.now, *self.previous) if self.now else self.previous
        return Alias(_pointed_now(version), before[:HISTORY])

    def back(self, usable: Callable[[str], bool]) -> Alias:
        """At the newest version before this one that is usable, or naming nothing."""
        for index, entry in enumerate(self.previous):
            if usable(entry.version):
                return Alias(_pointed_now(entry.version), self.previous[index + 1 :])
        return Alias()

    def as_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "updated": self.now and self.now.updated,
            "previous": [entry.as_dict() for entry in self.previous],
        }


class Aliases:
    """The aliases of one policy in a store."""

    def __init__(self, store: ObjectStore, policy: str) -> None:
        self._store, self._policy = store, policy
        self._prefix = f"policies/{policy}/aliases/"

    def read(self, alias: str) -> Alias:
        """What an alias says; one that is not there names nothing."""
        return self._read(alias)[0]

    def all(self) -> dict[str, Alias]:
        """Those that name a version, by name."""
        names = sorted(
            key.removeprefix(self._prefix).removesuffix(".json")
            for key in self._store.keys(self._prefix)
        )
        found = {name: self.read(name) for name in names if is_name(name)}
        return {name: alias for name, alias in found.items() if alias.now}

    def move(self, alias: str, version: str, allowed: Callable[[str | None], bool]) -> bool:
        """Let an alias name a version, if that is allowed where it names what it names now.

        Returns:
            Whether it was.

        Raises:
            UsageError: there is no such version, or it is being deleted.
            RunError: others changed the alias too often.
        """
        self._require_lasting(version)
        before, _ = self._change(
            alias, lambda said: said.moved_to(version) if allowed(said.version) else said
        )
        if not allowed(before.version):
            return False
        if self._leave_deleted(alias, version) != version:
            raise self._being_deleted(version)
        return True

    def roll_back(self, alias: str) -> tuple[str, str]:
        """Let an alias name the version before, of those that exist.

        Returns:
            (the version that it named, the version that it names)

        Raises:
            UsageError: it names nothing, or nothing before.
            RunError: others changed the alias too often.
        """
        before, after = self._change(
            alias, lambda said: earlier if (earlier := said.back(self._lasting)).now else said
        )
        if before.version is None or after.version is None or after == before:
            raise UsageError(
                f"{self._policy}@{alias} is {before.version}, and no version before it is left: "
                "there is nothing to roll back to"
            )
        version = self._leave_deleted(alias, after.version)
        if version is None:
            raise UsageError(
                f"{self._policy}@{alias} was {before.version}, every version before it has just "
                "been deleted, and now it names none: promote another"
            )
        return before.version, version

    def _leave_deleted(self, alias: str, version: str | None) -> str | None:
        """Step back from versions whose deletion began while the alias was moved to them.

        Args:
            version: that the alias was moved to.

        Returns:
            The version that it has come to name, the same as a rule.
        """
        while version is not None and not self._lasting(version):
            _, after = self._change(
                alias,
                lambda said, gone=version: (
                    said.back(self._lasting) if said.version == gone else said
                ),
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
        return UsageError(f"{self._policy}:{version} is being deleted: take another version")

    def _change(self, alias: str, change: Callable[[Alias], Alias]) -> tuple[Alias, Alias]:
        """Change an alias; where another writer comes between, change what that one left.

        Returns:
            (what it said, what it says)
        """
        for _ in range(_ATTEMPTS):
            before, tag = self._read(alias)
            after = change(before)
            if after == before:
                return before, after
            content = (json.dumps(after.as_dict(), indent=2, sort_keys=True) + "\n").encode()
            if self._store.put_if(self._key(alias), content, tag):
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
            return Alias(), None
        try:
            return _parse(parse_json(content)), tag
        except (ValueError, UsageError) as error:
            raise RunError(
                f"{self._key(alias)} in {self._store.describe()} is not an alias"
            ) from error


def _parse(content: Any) -> Alias:
    require_fields(content, {"version": (str, type(None))}, "the alias")
    previous = content.get("previous", [])
    if not isinstance(previous, list):
        raise UsageError("the alias has no list of earlier versions")
    now = None if content["version"] is None else _pointed(content)
    return Alias(now, tuple(map(_pointed, previous)))


def _pointed(entry: Any) -> Pointed:
    require_fields(entry, {"version": str}, "the alias")
    require_name(entry["version"].lower(), "version")
    # Aliases of the first kind said no time.
    return Pointed(entry["version"], str(entry.get("updated") or ""))


def _pointed_now(version: str) -> Pointed:
    return Pointed(version, datetime.now(timezone.utc).isoformat(timespec="seconds"))

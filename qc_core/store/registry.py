"""Policies by name: immutable versions, and aliases that move.

policies/NAME/versions/VERSION/…              the policy folder's files
policies/NAME/versions/VERSION/manifest.json  written last: then the version exists
policies/NAME/aliases/ALIAS.json              which version, replaced whole
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qc_core.errors import WorkFailed, WrongUse, closest
from qc_core.files import require_fields, sha256_of, staged_folder
from qc_core.runtime.folder import CHECKSUMS, CONTENTS, read_contract, verify
from qc_core.store.names import is_name, require_name
from qc_core.store.objects import NoSuchObject, ObjectStore

LATEST, CHAMPION = "latest", "champion"
_MANIFEST = "manifest.json"
_FILES = (*CONTENTS, CHECKSUMS)
_MANIFEST_FIELDS: dict[str, type | tuple[type, ...]] = {
    "files": dict,
    "success": (dict, type(None)),
    "created": str,
}
_ESTIMATE_FIELDS: dict[str, type | tuple[type, ...]] = dict.fromkeys(
    ("value", "low", "high"), (int, float)
)


@dataclass(frozen=True, slots=True)
class Version:
    """One published policy.

    Attributes:
        aliases: names that point here, sorted.
        success: `{value, low, high}` from its evaluation, or None.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    success: dict[str, float] | None
    created: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "aliases": list(self.aliases),
            "success": self.success,
            "created": self.created,
        }


class Registry:
    """The policies of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def publish(self, folder: Path, name: str) -> str:
        """Add a policy folder as a new version of a name and return the version.

        Versions are named by time and content, so that they sort by age and writers never
        meet. Readers see the version once its last file, the manifest, is there.
        """
        require_name(name)
        verify(folder)
        contract = read_contract(folder)
        created = datetime.now(timezone.utc)
        version = f"{created:%Y%m%dT%H%M%S}-{sha256_of(folder / CHECKSUMS)[:8]}"
        prefix = _version_prefix(name, version)
        evaluation = contract["evaluation"]
        manifest = {
            "name": name,
            "version": version,
            "created": created.isoformat(timespec="seconds"),
            "environment": contract["environment"],
            "method": contract["method"],
            "success": evaluation and evaluation["success"],
            "files": {
                file: {"bytes": (folder / file).stat().st_size, "sha256": sha256_of(folder / file)}
                for file in _FILES
            },
        }
        for file in _FILES:
            self._store.put_file(prefix + file, folder / file)
        self._store.put(prefix + _MANIFEST, _as_json(manifest))
        return version

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version that exists."""
        require_name(alias, "alias")
        self._manifest(name, version)
        self._store.put(_alias_key(name, alias), _as_json({"version": version}))

    def alias(self, name: str, alias: str) -> str | None:
        """The version that an alias points to, or None."""
        try:
            content = json.loads(self._store.get(_alias_key(name, alias)))
            require_fields(content, {"version": str}, "the alias")
            require_name(content["version"].lower(), "version")
            return content["version"]
        except NoSuchObject:
            return None
        except (ValueError, WrongUse) as error:
            raise WorkFailed(
                f"{_alias_key(name, alias)} in {self._store.describe()} is not an alias"
            ) from error

    def versions(self, name: str | None = None) -> list[Version]:
        """Every whole version, of one name or of all, oldest first within a name.

        Raises:
            WrongUse: no policy has that name.
        """
        found = []
        names = [policy for policy in self._store.folders("policies/") if is_name(policy)]
        if name is not None and name not in names:
            raise self._no_policy(name, names)
        for policy in names if name is None else [name]:
            aliases: dict[str, list[str]] = {}
            prefix = f"policies/{policy}/aliases/"
            for key in self._store.keys(prefix):
                alias = key.removeprefix(prefix).removesuffix(".json")
                if (target := self.alias(policy, alias)) is not None:
                    aliases.setdefault(target, []).append(alias)
            for version in self._store.folders(f"policies/{policy}/versions/"):
                try:
                    manifest = self._manifest(policy, version)
                except WrongUse:
                    # Not finished yet, or never: not a version.
                    continue
                found.append(
                    Version(
                        policy,
                        version,
                        tuple(sorted(aliases.get(version, []))),
                        manifest["success"],
                        manifest["created"],
                    )
                )
        return found

    def resolve(self, reference: str) -> tuple[str, str]:
        """`NAME`, `NAME@ALIAS` or `NAME:VERSION` → (name, version).

        A bare name means its champion, or its latest version while it has none.
        """
        match = re.fullmatch(r"([^@:]+)(?:@(.+)|:(.+))?", reference)
        if not match:
            raise WrongUse(f"{reference!r}: name a policy as NAME, NAME@ALIAS or NAME:VERSION")
        name, alias, version = match.groups()
        require_name(name)
        if version is not None:
            require_name(version.lower(), "version")
            self._manifest(name, version)
            return name, version
        if alias is not None:
            require_name(alias, "alias")
        for candidate in [alias] if alias else [CHAMPION, LATEST]:
            target = self.alias(name, candidate)
            if target is not None:
                return name, target
        known = self._store.folders("policies/")
        if name not in known:
            raise self._no_policy(name, known)
        raise WrongUse(f"policy {name!r} has no alias {alias or LATEST!r}: see `qc policies`")

    def pull(self, reference: str, output: Path) -> tuple[str, str]:
        """Fetch a policy into a new folder and verify it.

        Raises:
            WrongUse: no such policy, or an output folder in use.
            WorkFailed: an object is missing, truncated or altered; the message names it.
        """
        name, version = self.resolve(reference)
        manifest = self._manifest(name, version)
        prefix = _version_prefix(name, version)
        with staged_folder(output) as staging:
            for file in _FILES:
                key = prefix + file
                expected = manifest["files"][file]
                try:
                    self._store.get_file(key, staging / file)
                except NoSuchObject as error:
                    raise WorkFailed(f"{key} is missing in {self._store.describe()}") from error
                size = (staging / file).stat().st_size
                if size != expected["bytes"]:
                    raise WorkFailed(
                        f"{key} is truncated: {expected['bytes']} bytes are expected, got {size}"
                    )
                if sha256_of(staging / file) != expected["sha256"]:
                    raise WorkFailed(f"{key} is altered: its checksum is not the published one")
            verify(staging)
        return name, version

    def is_copy(self, folder: Path, name: str, version: str) -> bool:
        """Whether a folder holds the files of a version, whole and as they were published."""
        files = self._manifest(name, version)["files"]
        return all(
            (folder / file).is_file() and sha256_of(folder / file) == files[file]["sha256"]
            for file in _FILES
        )

    def _manifest(self, name: str, version: str) -> dict[str, Any]:
        key = _version_prefix(name, version) + _MANIFEST
        try:
            content = self._store.get(key)
        except NoSuchObject as error:
            raise WrongUse(
                f"there is no version {version!r} of policy {name!r}: `qc policies` lists them"
            ) from error
        try:
            manifest = json.loads(content)
            require_fields(manifest, _MANIFEST_FIELDS, key)
            if manifest["success"] is not None:
                require_fields(manifest["success"], _ESTIMATE_FIELDS, key)
            for file in _FILES:
                described = manifest["files"].get(file)
                require_fields(described, {"bytes": int, "sha256": str}, f"{key}, {file}")
        except (ValueError, WrongUse) as error:
            raise WorkFailed(f"{key} in {self._store.describe()} is damaged") from error
        return manifest

    def _no_policy(self, name: str, known: list[str]) -> WrongUse:
        return WrongUse(
            f"there is no policy {name!r} in {self._store.describe()}: "
            f"`qc policies` lists them.{closest(name, known)}"
        )


def _version_prefix(name: str, version: str) -> str:
    return f"policies/{name}/versions/{version}/"


def _alias_key(name: str, alias: str) -> str:
    return f"policies/{name}/aliases/{alias}.json"


def _as_json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()

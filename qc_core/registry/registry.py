"""Policies by name: immutable versions, and aliases that move.

policies/NAME/versions/VERSION/…              the policy folder's files
policies/NAME/versions/VERSION/manifest.json  written last: then the version exists
policies/NAME/versions/VERSION/gate.json      afterwards, once: how it did against the champion
policies/NAME/aliases/ALIAS.json              which version, and which before
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qc_core.errors import RunError, UsageError, closest
from qc_core.files import parse_json, sha256_of, staged_folder
from qc_core.log import log
from qc_core.names import is_name, require_name
from qc_core.policy_format.policy_folder import (
    CHECKSUMS,
    CONTRACT,
    SIGNATURE,
    check_contract,
    verify,
)
from qc_core.registry.aliases import Aliases
from qc_core.registry.gate_record import read_gate_record
from qc_core.registry.manifest import (
    FILES,
    checkpoint_prefix,
    describe_folder,
    manifest_key,
    read_manifest,
    read_manifests,
    require_version,
    version_prefix,
)
from qc_core.registry.signing import require_signature, sign
from qc_core.store.bundle import put_folder
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.timestamps import new_stamp

LATEST, CHAMPION = "latest", "champion"


@dataclass(frozen=True, slots=True)
class Version:
    """One published policy.

    Attributes:
        aliases: names that point here, sorted.
        success: `{value, low, high}` from its evaluation, or None.
        created: when it was published, ISO 8601 in UTC.
        run: the run of the pipeline that published it, or None.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    success: dict[str, float] | None
    created: str
    run: str | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "aliases": list(self.aliases),
            "success": self.success,
            "created": self.created,
            "run": self.run,
        }


class Registry:
    """The policies of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def publish(
        self,
        folder: Path,
        name: str,
        *,
        run: str | None = None,
        signing_key: Path | None = None,
        checkpoint: Path | None = None,
    ) -> str:
        """Add a policy folder as a new version of a name and return the version.

        Versions sort by age, and no two writers share one. Readers see the version once its
        last file, the manifest, is there; what is broken off before is never seen.

        Args:
            run: the run of the pipeline that it comes from.
            signing_key: PEM file of an Ed25519 private key; None publishes without a signature.
            checkpoint: the folder that it was exported from, kept for trainings to begin with; it
                goes when the version goes, and who pulls the policy does not get it.
        """
        require_name(name)
        verify(folder)
        version = new_stamp()
        prefix = version_prefix(name, version)
        manifest = describe_folder(folder, name, version, run, checkpoint=checkpoint is not None)
        if signing_key is not None:
            signature = sign(folder, name, version, signing_key)
            digest = hashlib.sha256(signature).hexdigest()
            manifest["files"][SIGNATURE] = {"bytes": len(signature), "sha256": digest}
            self._store.put(prefix + SIGNATURE, signature)
        for file in FILES:
            self._store.put_file(prefix + file, folder / file)
        if checkpoint is not None:
            put_folder(self._store, checkpoint_prefix(name, version), checkpoint)
        content = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
        if not self._store.put_if(manifest_key(name, version), content, None):
            raise RunError(f"another has just published {name}:{version}: promote it again")
        return version

    def published_by(
        self, run: str, folder: Path, name: str, *, signed: bool, checkpoint: bool
    ) -> str | None:
        """The version of a name that a run has published from such a folder, or None.

        Args:
            signed: it has a signature.
            checkpoint: its checkpoint is kept with it.
        """
        wanted = (run, sha256_of(folder / CHECKSUMS), signed, checkpoint)
        for version, manifest in read_manifests(self._store, name):
            files = manifest["files"]
            digest, has_signature = files[CHECKSUMS]["sha256"], SIGNATURE in files
            if (manifest["run"], digest, has_signature, manifest["checkpoint"]) == wanted:
                return version
        return None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version that exists, whatever it points to now."""
        require_name(alias, "alias")
        Aliases(self._store, name).move(alias, version, lambda now: True)

    def replace_alias(self, name: str, alias: str, version: str, expected: str | None) -> bool:
        """Let it do so only if it still points to `expected`; else nothing changes, and False."""
        require_name(alias, "alias")
        return Aliases(self._store, name).move(alias, version, lambda now: now == expected)

    def roll_back(self, name: str, alias: str) -> tuple[str, str]:
        """Let an alias point to the version before, of those that exist.

        Returns:
            (the version that it pointed to, the version that it points to)

        Raises:
            UsageError: there is no such alias, or nothing before.
        """
        require_name(name)
        require_name(alias, "alias")
        if self.alias(name, alias) is None:
            raise self._no_alias(name, alias)
        return Aliases(self._store, name).roll_back(alias)

    def alias(self, name: str, alias: str) -> str | None:
        """The version that an alias points to, or None."""
        return Aliases(self._store, name).read(alias).version

    def named(self, name: str, alias: str) -> tuple[str, ...]:
        """The version that an alias points to and those before it, newest first."""
        return Aliases(self._store, name).read(alias).versions

    def versions(self, name: str | None = None) -> list[Version]:
        """Every whole version, of one name or of all, oldest first within a name.

        Of one whose manifest is damaged is told, and the rest are listed.

        Raises:
            UsageError: no policy has that name.
        """
        names = [policy for policy in self._store.folders("policies/") if is_name(policy)]
        if name is not None and name not in names:
            raise self._no_policy(name, names)
        return [
            version
            for policy in (names if name is None else [name])
            for version in self._versions_of(policy)
        ]

    def resolve(self, reference: str) -> tuple[str, str]:
        """`NAME`, `NAME@ALIAS` or `NAME:VERSION` → (name, version).

        A bare name means its champion; while it has none its latest version, and that is said.
        """
        match = re.fullmatch(r"([^@:]+)(?:@(.+)|:(.+))?", reference)
        if not match:
            raise UsageError(f"{reference!r}: name a policy as NAME, NAME@ALIAS or NAME:VERSION")
        name, alias, version = match.groups()
        require_name(name)
        if version is not None:
            require_name(version.lower(), "version")
            require_version(self._store, name, version)
            return name, version
        if alias is not None:
            require_name(alias, "alias")
        for candidate in [alias] if alias else [CHAMPION, LATEST]:
            target = self.alias(name, candidate)
            if target is not None:
                if alias is None and candidate == LATEST:
                    log.info(
                        f"{name} has no champion: its latest version is taken, which may not have "
                        "passed the gate"
                    )
                return name, target
        raise self._no_alias(name, alias or LATEST)

    def pull(
        self, reference: str, output: Path, *, verify_key: Path | None = None
    ) -> tuple[str, str]:
        """Fetch a policy into a new folder and verify it.

        Args:
            verify_key: PEM file of the Ed25519 public key whose owner must have signed it.

        Raises:
            UsageError: no such policy, or an output folder in use.
            RunError: an object is missing, truncated or altered, the message names it; or a
                signature that is asked for is not there or not right.
        """
        name, version = self.resolve(reference)
        files = read_manifest(self._store, name, version)["files"]
        wanted = (*FILES, SIGNATURE) if SIGNATURE in files else FILES
        with staged_folder(output) as staging:
            for file in wanted:
                self._fetch(name, version, file, files[file], staging / file)
            verify(staging)
            if verify_key is not None:
                require_signature(staging, name, version, verify_key)
        return name, version

    def is_copy(self, folder: Path, name: str, version: str) -> bool:
        """Whether a folder holds the files of a version, whole and as they were published."""
        files = read_manifest(self._store, name, version)["files"]
        try:
            return all(sha256_of(folder / file) == files[file]["sha256"] for file in FILES)
        except RunError:
            # It is not there, not readable, or another process replaces it just now.
            return False

    def account(self, reference: str) -> dict[str, Any]:
        """What is known of a version: manifest, contract, gate, and the aliases of its name.

        Raises:
            UsageError: no such policy.
            RunError: its contract is missing or altered, or its gate's record damaged.
        """
        name, version = self.resolve(reference)
        manifest = read_manifest(self._store, name, version)
        key = version_prefix(name, version) + CONTRACT
        try:
            content = self._store.get(key)
        except NoSuchObject as error:
            raise self._missing(name, version, key) from error
        if hashlib.sha256(content).hexdigest() != manifest["files"][CONTRACT]["sha256"]:
            raise RunError(f"{key} is altered: its checksum is not the published one")
        try:
            contract = check_contract(parse_json(content), key)
        except ValueError as error:
            raise RunError(f"{key} in {self._store.describe()} is not readable JSON") from error
        aliases = Aliases(self._store, name).all()
        return {
            "manifest": manifest,
            "contract": contract,
            "aliases": {alias: said.as_dict() for alias, said in aliases.items()},
            "signed": SIGNATURE in manifest["files"],
            "gate": read_gate_record(self._store, name, version),
        }

    def _versions_of(self, name: str) -> list[Version]:
        aliases: dict[str, list[str]] = {}
        for alias, said in Aliases(self._store, name).all().items():
            aliases.setdefault(said.version or "", []).append(alias)
        found = [
            Version(
                name,
                version,
                tuple(sorted(aliases.get(version, []))),
                manifest["success"],
                manifest["created"],
                manifest["run"],
            )
            for version, manifest in read_manifests(self._store, name)
        ]
        return sorted(found, key=lambda entry: (entry.created, entry.version))

    def _fetch(
        self, name: str, version: str, file: str, expected: dict[str, Any], target: Path
    ) -> None:
        key = version_prefix(name, version) + file
        try:
            self._store.get_file(key, target)
        except NoSuchObject as error:
            raise self._missing(name, version, key) from error
        size = target.stat().st_size
        if size != expected["bytes"]:
            raise RunError(
                f"{key} is truncated: {expected['bytes']} bytes are expected, got {size}"
            )
        if sha256_of(target) != expected["sha256"]:
            raise RunError(f"{key} is altered: its checksum is not the published one")

    def _missing(self, name: str, version: str, key: str) -> RunError:
        try:
            self._store.get(manifest_key(name, version))
        except NoSuchObject:
            return RunError(f"{name}:{version} was deleted meanwhile: take another version")
        return RunError(f"{key} is missing in {self._store.describe()}")

    def _no_alias(self, name: str, alias: str) -> UsageError:
        known = self._store.folders("policies/")
        if name not in known:
            return self._no_policy(name, known)
        return UsageError(f"policy {name!r} has no alias {alias!r}: see `qc policies`")

    def _no_policy(self, name: str, known: list[str]) -> UsageError:
        return UsageError(
            f"there is no policy {name!r} in {self._store.describe()}: "
            f"`qc policies` lists them.{closest(name, known)}"
        )

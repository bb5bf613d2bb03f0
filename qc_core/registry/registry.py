"""Policies by name: immutable versions, and aliases that point to them.

policies/NAME/versions/VERSION/…              the files of the policy folder
policies/NAME/versions/VERSION/manifest.json  written last; the version exists once it is written
policies/NAME/versions/VERSION/gate.json      the result of the match against the champion
policies/NAME/aliases/ALIAS.json              the current version and the previous ones
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from qc_core import documents
from qc_core.documents import Document
from qc_core.errors import RunError, UsageError, closest
from qc_core.files import sha256_of, staged_folder
from qc_core.log import log
from qc_core.names import is_name, require_name
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.policy_folder import CHECKSUMS, CONTRACT, SIGNATURE, verify
from qc_core.registry.aliases import Alias, Aliases
from qc_core.registry.gate_record import GateRecord, read_gate_record
from qc_core.registry.manifest import (
    FILES,
    Manifest,
    checkpoint_prefix,
    describe_folder,
    manifest_key,
    read_manifest,
    read_manifests,
    require_version,
    version_prefix,
)
from qc_core.registry.signing import require_signature, sign
from qc_core.statistics import Estimate
from qc_core.store.bundle import put_folder
from qc_core.store.file_record import FileRecord, fetch_file
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.timestamps import new_stamp

LATEST, CHAMPION = "latest", "champion"


class Version(Document, frozen=True, kw_only=True):
    """One published policy.

    Attributes:
        aliases: aliases that point to it, sorted.
        success: success rate in its evaluation, or None.
        created: time of publication, ISO 8601 in UTC.
        run_id: the pipeline run that published it, or None.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    success: Estimate | None
    created: str
    run_id: str | None


class PolicyDetails(Document, frozen=True, kw_only=True):
    """Everything that the store knows about one version.

    Attributes:
        aliases: all aliases of the policy's name.
        gate: None if the version was never at the gate.
    """

    manifest: Manifest
    contract: Contract
    aliases: dict[str, Alias]
    signed: bool
    gate: GateRecord | None


class Registry:
    """The policies of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def publish(
        self,
        folder: Path,
        name: str,
        *,
        run_id: str | None = None,
        signing_key: Path | None = None,
        checkpoint: Path | None = None,
    ) -> str:
        """Publish a policy folder as a new version of a name and return the version.

        Versions sort by age, and no two writers share one. Readers see the version once its
        last file, the manifest, is written. They never see an interrupted upload.

        Args:
            run_id: the pipeline run that exported the policy.
            signing_key: PEM file of an Ed25519 private key; None publishes without a signature.
            checkpoint: the checkpoint folder that the policy was exported from. It is stored with
                the version as a starting point for trainings, and deleted with it. `pull` does
                not download it.
        """
        require_name(name)
        verify(folder)
        version = new_stamp()
        prefix = version_prefix(name, version)
        signature = None if signing_key is None else sign(folder, name, version, signing_key)
        manifest = describe_folder(
            folder,
            name,
            version,
            run_id=run_id,
            checkpoint=checkpoint is not None,
            signature=None if signature is None else _record_of_bytes(signature),
        )
        if signature is not None:
            self._store.put(prefix + SIGNATURE, signature)
        for file in FILES:
            self._store.put_file(prefix + file, folder / file)
        if checkpoint is not None:
            put_folder(self._store, checkpoint_prefix(name, version), checkpoint)
        if not self._store.put_if(manifest_key(name, version), documents.encode(manifest), None):
            raise RunError(f"another process has just published {name}:{version}: promote it again")
        return version

    def published_by(
        self, run_id: str, folder: Path, name: str, *, signed: bool, checkpoint: bool
    ) -> str | None:
        """Return the version that a run has published from this folder, or None.

        Args:
            signed: whether the version must have a signature or must have none.
            checkpoint: whether its checkpoint must be stored or must not.
        """
        wanted = (run_id, sha256_of(folder / CHECKSUMS), signed, checkpoint)
        for version, manifest in read_manifests(self._store, name):
            digest = manifest.files[CHECKSUMS].sha256
            if (manifest.run_id, digest, manifest.is_signed, manifest.checkpoint) == wanted:
                return version
        return None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at an existing version, wherever it points now."""
        require_name(alias, "alias")
        Aliases(self._store, name).move(alias, version, lambda current: True)

    def replace_alias(self, name: str, alias: str, version: str, expected: str | None) -> bool:
        """Compare-and-set: point the alias at `version` if it still points at `expected`.

        Returns:
            Whether it did.
        """
        require_name(alias, "alias")
        return Aliases(self._store, name).move(alias, version, lambda current: current == expected)

    def roll_back(self, name: str, alias: str) -> tuple[str, str]:
        """Point an alias at the previous version that still exists.

        Returns:
            (the version before, the version now)

        Raises:
            UsageError: there is no such alias, or it has no previous version.
        """
        require_name(name)
        require_name(alias, "alias")
        if self.alias(name, alias) is None:
            raise self._no_alias(name, alias)
        return Aliases(self._store, name).roll_back(alias)

    def alias(self, name: str, alias: str) -> str | None:
        """Return the version that an alias points at, or None."""
        return Aliases(self._store, name).read(alias).version

    def alias_history(self, name: str, alias: str) -> tuple[str, ...]:
        """Return the version that an alias points at and the previous ones, newest first."""
        return Aliases(self._store, name).read(alias).versions

    def versions(self, name: str | None = None) -> list[Version]:
        """Return the complete versions of one name or of all, oldest first within a name.

        Versions with a damaged manifest are logged and skipped.

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
        """Return (name, version) for `NAME`, `NAME@ALIAS` or `NAME:VERSION`.

        A name alone means its champion. Without a champion it means the latest version, which is
        logged.
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
                        f"{name} has no champion: using its latest version, which may not have "
                        "passed the gate"
                    )
                return name, target
        raise self._no_alias(name, alias or LATEST)

    def pull(
        self, reference: str, output: Path, *, verify_key: Path | None = None
    ) -> tuple[str, str]:
        """Download a policy into a new folder, verify it and return (name, version).

        Args:
            verify_key: PEM file of an Ed25519 public key; the version must be signed with it.

        Raises:
            UsageError: no such policy, or the output folder is in use.
            RunError: an object is missing, truncated or altered; or the signature is missing or
                invalid.
        """
        name, version = self.resolve(reference)
        manifest = read_manifest(self._store, name, version)
        wanted = (*FILES, SIGNATURE) if manifest.is_signed else FILES
        with staged_folder(output) as staging:
            for file in wanted:
                key = version_prefix(name, version) + file
                try:
                    fetch_file(self._store, key, manifest.files[file], staging / file)
                except NoSuchObject as error:
                    raise self._missing(name, version, key) from error
            verify(staging)
            if verify_key is not None:
                require_signature(staging, name, version, verify_key)
        return name, version

    def is_copy(self, folder: Path, name: str, version: str) -> bool:
        """Return whether a folder holds the unaltered files of a version."""
        files = read_manifest(self._store, name, version).files
        try:
            return all(sha256_of(folder / file) == files[file].sha256 for file in FILES)
        except RunError:
            # A file is missing, not readable, or being replaced by another process.
            return False

    def details(self, reference: str) -> PolicyDetails:
        """Return manifest, contract, gate record and aliases of a policy.

        Raises:
            UsageError: no such policy.
            RunError: its contract is missing or altered, or its gate record is damaged.
        """
        name, version = self.resolve(reference)
        manifest = read_manifest(self._store, name, version)
        return PolicyDetails(
            manifest=manifest,
            contract=self._contract(manifest, name, version),
            aliases=Aliases(self._store, name).all(),
            signed=manifest.is_signed,
            gate=read_gate_record(self._store, name, version),
        )

    def _contract(self, manifest: Manifest, name: str, version: str) -> Contract:
        key = version_prefix(name, version) + CONTRACT
        try:
            content = self._store.get(key)
        except NoSuchObject as error:
            raise self._missing(name, version, key) from error
        if _record_of_bytes(content).sha256 != manifest.files[CONTRACT].sha256:
            raise RunError(f"{key} is altered: its checksum is not the published one")
        try:
            return documents.parse(content, Contract, f"{key} in {self._store.describe()}")
        except UsageError as error:
            raise RunError(str(error)) from error

    def _versions_of(self, name: str) -> list[Version]:
        aliases: dict[str, list[str]] = {}
        for name_of_alias, alias in Aliases(self._store, name).all().items():
            aliases.setdefault(alias.version or "", []).append(name_of_alias)
        found = [
            Version(
                name=name,
                version=version,
                aliases=tuple(sorted(aliases.get(version, []))),
                success=manifest.success,
                created=manifest.created,
                run_id=manifest.run_id,
            )
            for version, manifest in read_manifests(self._store, name)
        ]
        return sorted(found, key=lambda entry: (entry.created, entry.version))

    def _missing(self, name: str, version: str, key: str) -> RunError:
        try:
            self._store.get(manifest_key(name, version))
        except NoSuchObject:
            return RunError(f"{name}:{version} has just been deleted: choose another version")
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


def _record_of_bytes(content: bytes) -> FileRecord:
    return FileRecord(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

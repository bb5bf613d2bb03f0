"""The lineage of a policy: its versions back to the first, with their data and gate decisions."""

from __future__ import annotations

from qc_core.documents import Document
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSummary
from qc_core.registry.gate_record import GateRecord, read_gate_record
from qc_core.registry.manifest import read_manifest
from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore


class LineageEntry(Document, frozen=True, kw_only=True):
    """One version of a policy.

    Attributes:
        policy: NAME:VERSION.
        created: time of publication in UTC, ISO 8601.
        run: id of the run that published the version.
        parent: NAME:VERSION whose weights the training started with.
        data: the sources of the dataset.
        gate: the gate's decision; None if the version never reached the gate.
    """

    policy: str
    created: str
    run: str | None
    parent: str | None
    data: tuple[DataSummary, ...]
    gate: GateRecord | None


class DeletedVersion(Document, frozen=True, kw_only=True):
    """A parent that is no longer in the store."""

    policy: str


def lineage(store: ObjectStore, reference: str) -> list[LineageEntry | DeletedVersion]:
    """Return a version and its ancestors, newest first.

    The list ends with the first version without a parent, or with a deleted one.

    Raises:
        UsageError: no such policy.
    """
    name, version = Registry(store).resolve(reference)
    chain: list[LineageEntry | DeletedVersion] = []
    policy: str | None = f"{name}:{version}"
    while policy is not None and all(policy != entry.policy for entry in chain):
        name, _, version = policy.partition(":")
        try:
            manifest = read_manifest(store, name, version)
        except UsageError:
            chain.append(DeletedVersion(policy=policy))
            break
        chain.append(
            LineageEntry(
                policy=policy,
                created=manifest.created,
                run=manifest.run_id,
                parent=manifest.parent,
                data=tuple(manifest.data),
                gate=read_gate_record(store, name, version),
            )
        )
        policy = manifest.parent
    return chain

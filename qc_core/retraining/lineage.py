"""Which data, which parent, which gate: how a policy came to be, version by version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qc_core import documents
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource, DataSummary
from qc_core.registry.gate_record import read_gate_record
from qc_core.registry.manifest import read_manifest, read_manifests
from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore

if TYPE_CHECKING:
    from qc_core.config.settings import Config


@dataclass(frozen=True, slots=True)
class NewData:
    """Whether a retraining has anything to learn.

    Attributes:
        parent: NAME:VERSION that it begins with, or None.
        text: one line for a person.
    """

    new: bool
    parent: str | None
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {"new": self.new, "parent": self.parent, "text": self.text}


def find_new_data(config: Config, source: DataSource, store: ObjectStore) -> NewData:
    """Whether these data are others than those that the parent, or a child of it, has learned from.

    A child that did not beat the champion counts: trained once more, it would come to the same.

    Args:
        config: as `pin_parent` returns it.
        source: of the data set, `Dataset.source`.
    """
    # Who only reads a lineage has no training packages.
    from qc_core.registry.parent import parent_of

    parent = parent_of(config)
    if parent is None:
        return NewData(True, None, "training begins anew")
    digests = _digests(source.parts)
    name = config.policy_name
    for version, manifest in read_manifests(store, name):
        if _digests(manifest.data) != digests:
            continue
        # A child whose run broke off before the gate was never compared: it does not count.
        if parent == f"{name}:{version}" or (
            parent == manifest.parent and read_gate_record(store, name, version) is not None
        ):
            return NewData(
                False, parent, f"nothing new: {name}:{version} has learned from these data already"
            )
    return NewData(True, parent, f"new data for {parent}")


def lineage(store: ObjectStore, reference: str) -> list[dict[str, Any]]:
    """A version and those that it comes from, itself first.

    Returns:
        For each `policy` (NAME:VERSION), `created`, `run`, `parent`, `data` and `gate`; of a
        parent that was deleted only `policy`.

    Raises:
        UsageError: no such policy.
    """
    name, version = Registry(store).resolve(reference)
    chain: list[dict[str, Any]] = []
    policy: str | None = f"{name}:{version}"
    while policy is not None and all(policy != entry["policy"] for entry in chain):
        name, _, version = policy.partition(":")
        try:
            manifest = read_manifest(store, name, version)
        except UsageError:
            chain.append({"policy": policy})
            break
        gate = read_gate_record(store, name, version)
        chain.append(
            {
                "policy": policy,
                "created": manifest.created,
                "run": manifest.run_id,
                "parent": manifest.parent,
                "data": [documents.to_json(summary) for summary in manifest.data],
                "gate": None if gate is None else documents.to_json(gate),
            }
        )
        policy = manifest.parent
    return chain


def _digests(sources: Sequence[DataSummary]) -> list[str]:
    return sorted(entry.digest or "" for entry in sources)

"""Detect whether a retraining has new data."""

from __future__ import annotations

from collections.abc import Sequence

from qc_core.config.settings import Config
from qc_core.documents import Document
from qc_core.policy_format.data_source import DataSource, DataSummary
from qc_core.registry.gate_record import read_gate_record
from qc_core.registry.manifest import read_manifests
from qc_core.registry.parent import parent_of
from qc_core.store.objects import ObjectStore


class NewData(Document, frozen=True, kw_only=True):
    """Whether a dataset is new to the policy that a retraining starts from.

    Attributes:
        new: the training has something to learn.
        parent: NAME:VERSION whose weights the training starts with, or None.
        text: the reason, in one line.
    """

    new: bool
    parent: str | None
    text: str


def find_new_data(config: Config, source: DataSource, store: ObjectStore) -> NewData:
    """Compare a dataset with the data of the parent policy and of the parent's children.

    Children count even if they lost at the gate, because training on the same data again would
    give the same result.

    Args:
        config: the result of `pin_parent`.
        source: the dataset's `Dataset.source`.
    """
    parent = parent_of(config)
    if parent is None:
        return NewData(new=True, parent=None, text="training starts with new networks")
    digests = _digests(source.parts)
    name = config.policy_name
    for version, manifest in read_manifests(store, name):
        if _digests(manifest.data) != digests:
            continue
        # A child whose run was interrupted before the gate was never compared: ignore it.
        if parent == f"{name}:{version}" or (
            parent == manifest.parent and read_gate_record(store, name, version) is not None
        ):
            text = f"up to date: {name}:{version} was already trained on these data"
            return NewData(new=False, parent=parent, text=text)
    return NewData(new=True, parent=parent, text=f"new data for {parent}")


def _digests(sources: Sequence[DataSummary]) -> list[str]:
    return sorted(entry.digest or "" for entry in sources)

"""The result of publishing a policy."""

from __future__ import annotations

from typing import Any

from qc_core import documents
from qc_core.documents import Document
from qc_core.registry.gate_record import GateRecord

SCHEMA_VERSION = 3


class Promotion(Document, frozen=True, kw_only=True):
    """A published version and the gate's decision about it.

    Attributes:
        store: the store that has the version, for people.
        champion: the version became champion.
        became: what the version is now, for people.
    """

    name: str
    version: str
    store: str
    champion: bool
    became: str
    gate: GateRecord
    schema_version: int = SCHEMA_VERSION

    @property
    def summary(self) -> str:
        """The result in one line."""
        return f"{self.name}:{self.version} is {self.became}: {self.gate.reason}"

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        documents.schema_version(content, (2, SCHEMA_VERSION), what, "promotion")
        gate = content.get("gate")
        if isinstance(gate, dict):
            gate = GateRecord.converted_from_older(gate, what)
        return {**content, "gate": gate, "schema-version": SCHEMA_VERSION}

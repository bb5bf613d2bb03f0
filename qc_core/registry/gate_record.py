"""How a version did at the gate: written once, when it was decided.

policies/NAME/versions/VERSION/gate.json  beside the manifest, which was there before any game
"""

from __future__ import annotations

import json
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields
from qc_core.registry.manifest import version_prefix
from qc_core.store.objects import NoSuchObject, ObjectStore

SCHEMA_VERSION = 1
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "champion": bool,
    "champion-before": (str, type(None)),
    "rule": str,
    "decision": str,
    "reason": str,
    "episodes": int,
    "episodes-at-most": int,
    "results": dict,
}


def write_gate_record(store: ObjectStore, name: str, version: str, content: dict[str, Any]) -> None:
    """Keep the record with the version (RunError: it has another already)."""
    key = _key(name, version)
    record = (json.dumps(content, sort_keys=True) + "\n").encode()
    if not store.put_if(key, record, None):
        raise RunError(f"{key} in {store.describe()} is there already: it is written once")


def read_gate_record(store: ObjectStore, name: str, version: str) -> dict[str, Any] | None:
    """The record of a version, None if it was never at the gate (RunError: damaged)."""
    key = _key(name, version)
    try:
        content = parse_json(store.get(key))
        require_fields(content, _FIELDS, key)
    except NoSuchObject:
        return None
    except (ValueError, UsageError) as error:
        raise RunError(f"{key} in {store.describe()} is damaged") from error
    return content


def has_gate_record(store: ObjectStore, name: str, version: str) -> bool:
    """Whether it was decided how the version did at the gate; a damaged record says so too."""
    try:
        store.get(_key(name, version))
    except NoSuchObject:
        return False
    return True


def _key(name: str, version: str) -> str:
    return version_prefix(name, version) + "gate.json"

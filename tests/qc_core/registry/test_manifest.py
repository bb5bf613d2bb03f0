"""Manifests of earlier releases are read; new ones have the current keys."""

import json
from pathlib import Path

from qc_core.registry.manifest import FILES, read_manifest
from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore


def test_a_manifest_of_the_first_schema_is_read(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    version = registry.publish(small_policy, "cube", run_id="run-7")
    key = f"policies/cube/versions/{version}/manifest.json"
    content = json.loads(store.get(key))
    assert content["schema-version"] == 2 and "run" not in content
    current = read_manifest(store, "cube", version)
    del content["schema-version"]
    content["run"] = content.pop("run-id")
    store.put(key, json.dumps(content).encode())
    assert read_manifest(store, "cube", version) == current
    assert current.run_id == "run-7"


def test_a_manifest_without_origin_is_read(store: ObjectStore) -> None:
    """The first manifests did not record the origin of a version."""
    content = {
        "name": "cube",
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "success": {"value": 1, "low": 0.9, "high": 1.0},
        "files": {file: {"bytes": 1, "sha256": "a"} for file in FILES},
    }
    store.put("policies/cube/versions/1/manifest.json", json.dumps(content).encode())
    manifest = read_manifest(store, "cube", "1")
    assert (manifest.run_id, manifest.parent, manifest.data) == (None, None, ())
    assert not manifest.checkpoint and not manifest.is_signed
    assert manifest.success is not None and manifest.success.value == 1

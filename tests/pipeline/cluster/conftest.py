"""A cluster with KFP 2.17 as installed, and the product's own objects."""

from __future__ import annotations

import base64
import copy

import pytest

from tests.manifests.rendering import Object, named, render
from tests.pipeline.cluster.fake_cluster import Cluster

STORE_KEYS = {"accesskey": "user", "secretkey": "very-secret"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster that kubectl uses in this test."""
    cluster = Cluster()
    cluster.put(copy.deepcopy(named(render("overlays/local"), "ConfigMap", "q-chunking")))
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in STORE_KEYS.items()}
    cluster.put(_object("Secret", "q-chunking-store", data=encoded))
    ready = [{"addresses": ["10.0.0.7"], "conditions": {"ready": True}}]
    cluster.put(_object("EndpointSlice", "q-chunking-minio", endpoints=ready))
    monkeypatch.setattr("pipeline.cluster.kubectl.subprocess.run", cluster.run)
    return cluster


def _object(kind: str, name: str, **fields: object) -> Object:
    return {"kind": kind, "metadata": {"name": name}, **fields}

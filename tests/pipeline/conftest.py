"""A KFP server for tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.kfp_server import KFP, serve


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test finds a cluster of the person who runs it."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KFP]:
    """A server on loopback that KFP_ENDPOINT names; what it refused fails the test."""
    with serve() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        yield server
    assert not server.refused

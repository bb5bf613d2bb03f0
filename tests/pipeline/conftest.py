"""One complete run of the pipeline and a KFP server, which several tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.kfp_server import KFP, serve

# The run that the tests share.
RUN = ("run", "smoke", "-o", "run", "--seed", "3", "--evaluate.episodes", "1")
QC = [sys.executable, "-m", "qc_core.cli.main"]


def qc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*QC, *arguments], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of the smoke recipe, with its own store in the same folder."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("QC_", "AWS_", "KFP_"))]:
            patch.delenv(name)
        done = qc(folder, *RUN)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def without_trying_environments() -> Iterator[None]:
    """Commands that start a run elsewhere do not play its environment; other tests do."""
    with pytest.MonkeyPatch.context() as patch:
        for command in ("compile", "submit", "schedule"):
            patch.setattr(f"pipeline.cli.{command}.check_plan", lambda _: None)
        yield


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides the cluster of the person who runs the tests."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def kfp(
    no_cluster: None, without_trying_environments: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KFP]:
    """A server on loopback that KFP_ENDPOINT names; a request that it refused fails the test."""
    monkeypatch.setattr("pipeline.server.POLL", 0.001)
    monkeypatch.setattr("pipeline.schedule_runs.POLL", 0.001)
    with serve() as server:
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        yield server
    assert not server.refused


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks only once for an object whose creation was not confirmed."""
    monkeypatch.setattr("pipeline.server.CONFIRMATION", 0.0)

"""Readers see complete policies only, with concurrent and with killed writers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qc_core.registry.aliases import Aliases
from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore
from tests.qc_core.registry.policy_folders import write_policy

PROCESSES, COUNT = 10, 50
ROOT = Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from pathlib import Path
from qc_core.store.open import open_store
from qc_core.registry.registry import Registry

store, calls = open_store(), 0
methods = {name: getattr(store, name) for name in ("put", "put_file", "put_if")}

def dying(name):
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return methods[name](*arguments)
    return call

for name in methods:
    setattr(store, name, dying(name))
Registry(store).publish(Path(sys.argv[1]), "cube")
"""


@pytest.fixture
def environment() -> dict[str, str]:
    """Environment of processes that use the store of the test."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_fifty_concurrent_promotions_and_pulls_lose_nothing(
    registry: Registry, store: ObjectStore, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = [sys.executable, "-m", "tests.qc_core.registry.promoter", str(tmp_path / "work")]
    words += [str(PROCESSES), str(COUNT)]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    done = json.loads(ended.stdout)
    assert len({entry["process"] for entry in done}) > 1
    published = {entry["version"]: entry["seed"] for entry in done}
    assert len(published) == COUNT
    # Every pulled folder is consistent and belongs to its version.
    for entry in done:
        assert entry["pulled-seed"] == published[entry["pulled-version"]]
    listed = {version.version: version.run_id for version in registry.versions("cube")}
    assert listed == {version: str(seed) for version, seed in published.items()}
    # Each champion was recorded once, and no concurrent write was lost.
    assert sorted(history(store, "latest")) == sorted(published)
    champions = [entry["version"] for entry in done if entry["won"]]
    assert sorted(history(store, "champion")) == sorted(champions)
    assert champions


def history(store: ObjectStore, alias: str) -> list[str]:
    said = Aliases(store, "cube").read(alias)
    return [str(said.version), *(entry.version for entry in said.previous)]


@pytest.mark.parametrize("call", [1, 3, 6])
def test_an_interrupted_upload_leaves_no_version(
    registry: Registry, tmp_path: Path, environment: dict[str, str], call: int
) -> None:
    folder = write_policy(tmp_path / "policy", seed=1)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(call)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert registry.versions() == []
    version = registry.publish(folder, "cube")
    assert [entry.version for entry in registry.versions()] == [version]

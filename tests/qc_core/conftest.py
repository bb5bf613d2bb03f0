"""Fixtures: both stores, a registry and a small policy folder."""

from pathlib import Path

import pytest

from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from tests.qc_core.registry.policy_folders import write_policy


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "s3":
        request.getfixturevalue("s3_store")
    return open_store()


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    return Registry(store)


@pytest.fixture
def small_policy(tmp_path: Path) -> Path:
    """A policy folder that no network was trained for."""
    return write_policy(tmp_path / "small", seed=0)

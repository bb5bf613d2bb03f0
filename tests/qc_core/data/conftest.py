"""Environments that compute rewards from recorded states are made once for all tests of data."""

from functools import cache
from typing import Any

import gymnasium
import pytest

from qc_core.envs.make import make_environment


class _Shared(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that remains open for the next test."""

    def close(self) -> None:
        pass


@cache
def _shared(environment: str) -> gymnasium.Env[Any, Any]:
    return _Shared(make_environment(environment))


@pytest.fixture(autouse=True)
def shared_environments_for_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling a simulator takes a second; its rewards depend only on the given states."""
    monkeypatch.setattr("qc_core.envs.relabelling.make_environment", _shared)

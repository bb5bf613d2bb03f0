"""Plays in a quick environment."""

from tests.quick_fixtures import checkpoint, config, dataset, policy, spec

__all__ = ["checkpoint", "config", "dataset", "policy", "spec"]

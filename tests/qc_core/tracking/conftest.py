"""Trains in a quick environment."""

from tests.quick_fixtures import checkpoint, config, dataset, spec

__all__ = ["checkpoint", "config", "dataset", "spec"]

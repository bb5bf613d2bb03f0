"""Trains in a quick environment."""

from tests.quick_fixtures import dataset, spec

__all__ = ["dataset", "spec"]

"""Selects the best trial."""

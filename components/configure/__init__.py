"""Resolves the recipe and opens the tuning study."""

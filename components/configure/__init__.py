"""Resolve the recipe and open the study."""

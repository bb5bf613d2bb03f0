"""Compares policies on the same episodes, and measures the coherence of their exploration."""

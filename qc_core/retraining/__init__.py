"""Detects new data for a retraining, and lists the ancestors of a version."""

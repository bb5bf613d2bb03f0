"""Environments, and how a chunk policy is played in them."""

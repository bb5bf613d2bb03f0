"""Publishes the policy."""

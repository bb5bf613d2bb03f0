"""Publish the policy."""

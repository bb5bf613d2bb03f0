"""Compares the policies on unseen episodes."""

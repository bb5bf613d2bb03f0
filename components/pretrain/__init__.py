"""Trains offline."""

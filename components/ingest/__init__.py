"""Collects, downloads or converts the dataset."""

"""Torch modules and nothing about learning."""

"""Exports a checkpoint to the policy folder that a robot runs."""

"""Offline and online training, checkpoints, and the comparison of what they produced."""

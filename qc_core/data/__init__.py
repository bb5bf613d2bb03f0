"""Recorded episodes: foreign formats, the on-disk dataset, and the windows for training."""

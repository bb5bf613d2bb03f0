"""Recorded episodes: foreign formats, the on-disk data set, and the windows for training."""

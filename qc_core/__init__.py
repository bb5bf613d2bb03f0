"""Q-chunking: what a chunk policy is, how it learns, where it is kept."""

__version__ = "0.1.0"

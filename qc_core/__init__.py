"""Q-chunking: what a chunk policy is, how it learns, and where it is stored."""

__version__ = "0.2.0"

"""The training loop, offline and online training, and checkpoints."""

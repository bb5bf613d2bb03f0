"""What a run was asked to do and what its steps have finished, for a run that continues it."""

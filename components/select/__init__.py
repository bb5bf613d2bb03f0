"""Pick the best trial."""

"""What the store has of each run, and comparisons of runs."""

"""Reports the run's status; always runs last."""

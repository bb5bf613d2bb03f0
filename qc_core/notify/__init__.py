"""Reports the status of a run, in the store and to a webhook."""

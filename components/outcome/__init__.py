"""The step that always runs."""

"""The pipeline's graph of steps, and how it runs: locally or on a KFP server."""

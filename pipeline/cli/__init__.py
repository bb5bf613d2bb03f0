"""The commands of `qc` that run the pipeline, here or on a KFP server, and list its runs."""

"""The steps of the pipeline: thin KFP adapters over `qc_core`, one folder each."""

"""The steps of the pipeline, one folder each: thin KFP adapters over `qc_core`."""

"""The commands of `qc` that need KFP: run, compile, submit and schedule."""

"""Scripted collection: episodes that OGBench's oracles play."""

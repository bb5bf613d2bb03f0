"""Collects demonstrations with OGBench's scripted oracles."""

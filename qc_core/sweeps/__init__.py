"""Sweeps: methods × tasks × seeds, trained offline then online, and the published curves."""

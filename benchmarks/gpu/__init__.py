"""Measurements for a GPU machine without network: one command runs them all.

python3 -m benchmarks.gpu --output DIR [--minutes 12] [--tiny]
"""

"""Collect, fetch or convert the data set."""

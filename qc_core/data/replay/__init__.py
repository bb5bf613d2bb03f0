"""Samples training windows from offline data sets and from the online replay buffer."""

"""Samples training windows from offline datasets and from the online replay buffer."""

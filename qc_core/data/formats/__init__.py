"""Reads foreign files and folders as sources of episodes."""

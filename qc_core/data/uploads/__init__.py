"""Receives episodes from robots: checks them, stores them and quarantines invalid files."""

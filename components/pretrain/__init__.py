"""Train offline."""

"""One worker of the tuning study."""

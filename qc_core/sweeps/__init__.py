"""Studies: methods × tasks × seeds of the offline-to-online protocol, and the published curves."""

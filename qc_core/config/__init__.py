"""Named configurations and how overrides change them."""

"""Neural networks: plain layers, a faster way to compute them, and the networks built from them."""

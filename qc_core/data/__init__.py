"""Episodes on disk, where they come from, and the windows that training draws from them."""

"""Creates environments and runs episodes of chunk policies in them."""

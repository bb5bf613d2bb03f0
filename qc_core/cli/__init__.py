"""The `qc` command: parses arguments, calls one function, prints the result."""

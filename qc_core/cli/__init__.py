"""The `qc` command: words in, one function of the packages called, a result or one line out."""

"""The learning algorithms: one file per algorithm, one function per equation."""

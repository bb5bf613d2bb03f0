"""The learning algorithms: one equation, one function; noise is always an argument."""

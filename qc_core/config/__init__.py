"""The settings of a run: named recipes, options that override them, and the document."""

"""The flow of the steps, and where it runs. No learning here."""

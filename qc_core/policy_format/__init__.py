"""The exported policy: its contract, its folder, and the records that describe its origin."""

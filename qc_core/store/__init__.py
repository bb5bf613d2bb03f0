"""Stores objects in a folder or an S3 bucket, with one interface."""

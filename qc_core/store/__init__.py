"""Where policies are kept: a folder or an S3 bucket, behind one interface."""

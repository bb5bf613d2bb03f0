"""The single on-disk format of datasets."""

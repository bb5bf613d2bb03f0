"""The single on-disk format of data sets."""

"""The one name of the image that every step runs in."""

from qc_core import __version__

TRAIN_IMAGE = f"localhost/q-chunking-train:{__version__}"

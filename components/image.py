"""Name of the container image that every step runs in."""

import os

from qc_core import __version__

# Read when the pipeline is compiled: the complete name of the image, such as
# registry.example.com/q-chunking-train@sha256:…, or only the registry that the nodes pull from.
IMAGE_VARIABLE = "QC_TRAIN_IMAGE"
REGISTRY_VARIABLE = "QC_IMAGE_REGISTRY"
TRAIN_IMAGE = (
    os.environ.get(IMAGE_VARIABLE)
    or f"{os.environ.get(REGISTRY_VARIABLE) or 'localhost'}/q-chunking-train:{__version__}"
)

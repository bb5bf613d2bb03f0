"""The one name of the image that every step runs in."""

import os

from qc_core import __version__

# Read when the pipeline is compiled: the registry that the cluster's nodes pull from.
REGISTRY_VARIABLE = "QC_IMAGE_REGISTRY"
TRAIN_IMAGE = f"{os.environ.get(REGISTRY_VARIABLE) or 'localhost'}/q-chunking-train:{__version__}"

"""Name of the container image that every step runs in."""

import os

from qc_core import __version__

# Registry that the cluster's nodes pull from, read when the pipeline is compiled.
REGISTRY_VARIABLE = "QC_IMAGE_REGISTRY"
TRAIN_IMAGE = f"{os.environ.get(REGISTRY_VARIABLE) or 'localhost'}/q-chunking-train:{__version__}"

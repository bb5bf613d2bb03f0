"""Run a pulled policy: NumPy, onnxruntime and the store client, nothing of the training."""

from qc_core.runtime.policy import ChunkPolicy
from qc_core.runtime.prefetch import ChunkLate

__all__ = ["ChunkLate", "ChunkPolicy"]

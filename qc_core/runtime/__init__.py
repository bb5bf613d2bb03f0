"""Run a pulled policy: NumPy, onnxruntime and the store client, nothing of the training."""

from qc_core.runtime.policy import ChunkPolicy

__all__ = ["ChunkPolicy"]

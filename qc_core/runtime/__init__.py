"""Runs an exported policy and records its episodes.

Needs only NumPy, onnxruntime, msgspec and the store client.
"""

from qc_core.runtime.episode_recorder import EpisodeRecorder
from qc_core.runtime.policy import ChunkPolicy
from qc_core.runtime.prefetch import ChunkLate

__all__ = ["ChunkLate", "ChunkPolicy", "EpisodeRecorder"]

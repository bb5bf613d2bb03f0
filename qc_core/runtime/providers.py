"""What computes: the CPU, CUDA or TensorRT."""

from __future__ import annotations

from collections.abc import Sequence

from qc_core.errors import UsageError

# onnxruntime's names by ours.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# TensorRT only by name: it compiles the model for minutes at every load, and onnxruntime says that
# it is there also where its libraries are not.
_BY_AVAILABILITY = ("cuda", "cpu")


def choose_providers(wanted: str | None, available: Sequence[str]) -> list[str]:
    """Providers to open a model with, the wanted one first, then those that help it out.

    Args:
        wanted: `cpu`, `cuda` or `tensorrt`; None takes CUDA where there is one, else the CPU.
        available: onnxruntime's names of what this installation has.

    Raises:
        UsageError: an unknown name, or one that this installation lacks.
    """
    if wanted is not None and wanted not in PROVIDERS:
        raise UsageError(f"the provider must be one of {', '.join(PROVIDERS)}, got {wanted!r}")
    here = [name for name, theirs in PROVIDERS.items() if theirs in available]
    if wanted is None:
        return [name for name in _BY_AVAILABILITY if name in here]
    if wanted not in here:
        raise UsageError(
            f"provider {wanted!r} is not in this onnxruntime, which has {', '.join(here)}: "
            "install onnxruntime-gpu, or take another"
        )
    return here[here.index(wanted) :]

"""Execution providers of onnxruntime: the CPU, CUDA or TensorRT."""

from __future__ import annotations

from collections.abc import Sequence

from qc_core.errors import UsageError

# onnxruntime's names by our names.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# TensorRT is used only on request: it compiles the model for minutes at every load, and onnxruntime
# lists it even if its libraries are missing.
_AUTOMATIC = ("cuda", "cpu")


def choose_providers(wanted: str | None, available: Sequence[str]) -> list[str]:
    """Return the providers for a model: the wanted one, then its fallbacks.

    Args:
        wanted: `cpu`, `cuda` or `tensorrt`; None uses CUDA if available, else the CPU.
        available: onnxruntime's names of the providers of this installation.

    Raises:
        UsageError: the name is unknown, or this installation lacks the provider.
    """
    if wanted is not None and wanted not in PROVIDERS:
        raise UsageError(f"the provider must be one of {', '.join(PROVIDERS)}, got {wanted!r}")
    here = [name for name, theirs in PROVIDERS.items() if theirs in available]
    if wanted is None:
        return [name for name in _AUTOMATIC if name in here]
    if wanted not in here:
        raise UsageError(
            f"provider {wanted!r} is not in this onnxruntime, which has {', '.join(here)}: "
            "install onnxruntime-gpu, or choose another provider"
        )
    return here[here.index(wanted) :]

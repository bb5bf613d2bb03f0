"""Measures the energy of the first visible NVIDIA GPU."""

from __future__ import annotations

import os


class GpuEnergy:
    """The GPU's energy since this object was created."""

    def __init__(self) -> None:
        self._start = _millijoules()

    def joules(self) -> float | None:
        """Return the energy so far; None without a GPU that counts it."""
        now = _millijoules()
        if now is None or self._start is None:
            return None
        return (now - self._start) / 1000


def _millijoules() -> int | None:
    """Return the GPU's counter, which starts when its driver is loaded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if os.environ.get("QC_DEVICE") == "cpu":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        if visible.isdecimal():
            gpu = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        else:
            gpu = pynvml.nvmlDeviceGetHandleByUUID(visible)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    except pynvml.NVMLError:
        # There is no driver, no such GPU, or the GPU is divided (MIG) or too old to count.
        return None

"""Describes the GPU machine: hardware, driver and the versions that its speed depends on."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.hardware import hardware

_PACKAGES = ("triton", "jax", "jax-cuda13-plugin", "nvidia-cublas", "nvidia-cudnn-cu13")
_QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.memory"


def machine() -> dict[str, Any]:
    """`hardware()`, the driver's description of each GPU, and more versions."""
    described = hardware()
    versions = {**described["versions"], "CUDA of torch": torch.version.cuda or "none"}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**described, "versions": versions, "nvidia-smi": _nvidia_smi()}


def _nvidia_smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "no nvidia-smi here"
    except subprocess.TimeoutExpired:
        return "nvidia-smi does not answer"
    return " ".join((done.stdout or done.stderr).split())

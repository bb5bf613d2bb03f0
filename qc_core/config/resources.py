"""Checks of the pipeline inputs that describe pods: GPUs, cores, memory and nodes."""

from __future__ import annotations

import re
from typing import Any

from qc_core.errors import UsageError

# A positive Kubernetes quantity: 2, 500m, 1.5Gi.
_QUANTITY = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")


def check_resources(**inputs: Any) -> None:
    """Refuse values that KFP's driver would reject only when the step starts, days into a run.

    Args:
        inputs: value by the name of the pipeline input; inputs of other kinds are ignored.

    Raises:
        UsageError: `gpus` is not a number, `cpus` or `memory` is not a Kubernetes quantity,
            `gpu_type` is empty, `node_selector` does not map labels to text, or an entry of
            `tolerations` is not an object.
    """
    for name, value in inputs.items():
        if name == "gpus" and not (value.isascii() and value.isdecimal()):
            raise UsageError(f"gpus must be a number, 0 for none, got {value!r}")
        if name in ("cpus", "memory") and not _QUANTITY.fullmatch(value):
            raise UsageError(
                f"{name} must be a Kubernetes quantity such as 2 or 16Gi, got {value!r}"
            )
        if name == "gpu_type" and not value:
            raise UsageError("gpu_type must be the name of a resource such as nvidia.com/gpu")
        if name == "node_selector" and not all(isinstance(v, str) for v in value.values()):
            raise UsageError(
                f'node_selector must map labels to text, such as {{"pool": "gpu"}}, got {value}'
            )
        if name == "tolerations" and not all(isinstance(entry, dict) for entry in value):
            raise UsageError(
                'tolerations must be a list of objects, such as [{"key": "nvidia.com/gpu", '
                f'"operator": "Exists"}}], got {value}'
            )

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
        inputs: value by the name of the pipeline input, such as `resources_gpus`; inputs of other
            kinds are ignored. The names of version 0.2 lack the prefix; pipelines that were
            compiled by it use them.

    Raises:
        UsageError: GPUs are not a number, cores or memory are not a Kubernetes quantity, or the
            node selector does not map labels to text.
    """
    for name, value in inputs.items():
        kind = name.removeprefix("resources_")
        if kind == "gpus" and not (value.isascii() and value.isdecimal()):
            raise UsageError(f"{name} must be a number, 0 for none, got {value!r}")
        if kind in ("cpus", "memory") and not _QUANTITY.fullmatch(value):
            raise UsageError(
                f"{name} must be a Kubernetes quantity such as 2 or 16Gi, got {value!r}"
            )
        if kind == "node_selector" and not all(isinstance(v, str) for v in value.values()):
            raise UsageError(
                f'{name} must map labels to text, such as {{"pool": "gpu"}}, got {value}'
            )

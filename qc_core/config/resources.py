"""Checks of the pipeline inputs that describe pods: GPUs, cores, memory and names of Secrets."""

from __future__ import annotations

import re

from qc_core.errors import UsageError

# A positive Kubernetes quantity: 2, 500m, 1.5Gi.
_QUANTITY = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")


def check_resources(**inputs: str) -> None:
    """Refuse values that KFP's driver would reject only when the step starts, days into a run.

    Args:
        inputs: text by the name of the pipeline input; inputs of other kinds are ignored.

    Raises:
        UsageError: `gpus` is not a number, `cpus` or `memory` is not a Kubernetes quantity, or the
            name of a Secret is empty.
    """
    for name, text in inputs.items():
        if name == "gpus" and not (text.isascii() and text.isdecimal()):
            raise UsageError(f"gpus must be a number, 0 for none, got {text!r}")
        if name in ("cpus", "memory") and not _QUANTITY.fullmatch(text):
            raise UsageError(
                f"{name} must be a Kubernetes quantity such as 2 or 16Gi, got {text!r}"
            )
        if name.endswith("_secret") and not text:
            raise UsageError(
                f"{name} must be the name of a Secret, got ''; a Secret of that name need not exist"
            )

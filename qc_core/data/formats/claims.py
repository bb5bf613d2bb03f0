"""Sources in a volume claim of Kubernetes: `pvc://CLAIM/path`.

A pipeline mounts the claims that its sources name when it is compiled, below `QC_CLAIMS`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from qc_core.errors import UsageError

CLAIMS_VARIABLE = "QC_CLAIMS"
_PREFIX = "pvc://"
_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def is_claim(source: str) -> bool:
    """Whether a value of `--data` names a path in a volume claim."""
    return source.startswith(_PREFIX)


def claim_of(source: str) -> str:
    """Return the name of the claim (UsageError: the source has no valid claim or path)."""
    claim, _, path = source.removeprefix(_PREFIX).partition("/")
    if not _CLAIM.fullmatch(claim) or ".." in PurePosixPath(path).parts:
        raise UsageError(f"--data must be pvc://CLAIM/path inside of the claim, got {source}")
    return claim


def claim_path(source: str) -> Path:
    """Return the local path of a source (UsageError: its claim is not mounted here)."""
    claim, mounted = claim_of(source), os.environ.get(CLAIMS_VARIABLE)
    if not mounted or not (Path(mounted) / claim).is_dir():
        raise UsageError(
            f"--data {source}: the volume claim {claim} is not mounted here; compile or submit the "
            f"pipeline with --data {source}, so that its pods mount the claim"
        )
    return Path(mounted) / source.removeprefix(_PREFIX)

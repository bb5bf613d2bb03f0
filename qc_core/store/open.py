"""Opens the store that the environment configures."""

from __future__ import annotations

import os
from pathlib import Path

from qc_core.errors import UsageError
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import ObjectStore

STORE_VARIABLE = "QC_STORE"
DEFAULT_STORE = "./runs/store"


def open_store() -> ObjectStore:
    """Open the store `QC_STORE`: a folder or s3://bucket/prefix (UsageError: anything else)."""
    location = os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    if location.startswith("s3://"):
        from qc_core.store.s3 import S3Store

        return S3Store(location)
    if "://" in location:
        # The rest of the address may contain keys, so it is not printed.
        scheme = location.partition("://")[0]
        raise UsageError(f"QC_STORE must be a folder or s3://bucket/prefix, got {scheme}://…")
    return FolderStore(Path(location))

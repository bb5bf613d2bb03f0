"""Local cache of policies from the store; each cached version is complete."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core.errors import RunError, UsageError
from qc_core.registry.registry import Registry
from qc_core.scratch import STAGED, temporary_folder
from qc_core.store.open import open_store


def cached_policy(reference: str) -> Path:
    """Return the local folder of a policy of the store; download it if it is not cached.

    Each call asks the store for the version and its checksums. If the store does not answer, this
    is an error even if a version is cached, because it may be another version.

    Args:
        reference: `NAME`, `NAME@ALIAS` or `NAME:VERSION`.

    Raises:
        UsageError: no such policy, or the cache cannot be written.
        RunError: the store does not answer, or the policy in it is damaged.
    """
    cache = cache_folder()
    registry = Registry(open_store())
    try:
        name, version = registry.resolve(reference)
        folder = cache / name / version
        if registry.is_copy(folder, name, version):
            return folder
    except UsageError as error:
        raise UsageError(f"there is no folder {reference!r} here, and {error}") from error
    except RunError as error:
        # Without the temporary folders, which start with a dot; versions sort by age.
        cached = sorted((cache / re.split("[@:]", reference)[0]).glob("[!.]*"))
        if not cached:
            raise
        raise RunError(
            f"{error}. The cached version may be outdated; to use it anyway, load {cached[-1]}"
        ) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder.parent, f".{version}.{STAGED}") as scratch:
            fetched = scratch / version
            registry.pull(f"{name}:{version}", fetched)
            with _exclusive_lock(cache):
                # An existing folder was just downloaded by another process, or it is damaged or
                # of another store.
                if not registry.is_copy(folder, name, version):
                    if folder.exists():
                        folder.rename(scratch / "replaced")
                    fetched.rename(folder)
    except OSError as error:
        raise UsageError(
            f"the cache {cache} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a "
            "writable folder"
        ) from error
    return folder


@contextmanager
def _exclusive_lock(cache: Path) -> Iterator[None]:
    """Hold the cache's lock while a copy is replaced.

    Without it, two processes that replace a damaged copy would remove each other's copy.
    """
    with (cache / ".lock").open("a") as lock:
        # The system releases the lock when the file is closed or the process dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/q-chunking/policies`, default `~/.cache` (UsageError: no home)."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise UsageError(
            "this user has no home folder for the cache: set XDG_CACHE_HOME"
        ) from error
    return root.absolute() / "q-chunking" / "policies"

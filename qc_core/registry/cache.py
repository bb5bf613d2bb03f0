"""Policies of the store kept on this machine, each version whole or absent."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core.errors import RunError, UsageError
from qc_core.registry.registry import Registry
from qc_core.store.open import open_store


def cached_policy(reference: str) -> Path:
    """The folder of a policy of the store, fetched unless it is here already.

    The store is asked each time which version is meant, and what its files must be. A store that
    does not answer is an error also where a version is here: it may not be the one meant.

    Args:
        reference: `NAME`, `NAME@ALIAS` or `NAME:VERSION`.

    Raises:
        UsageError: no such policy, or a cache that cannot be written.
        RunError: the store does not answer, or what it holds is damaged.
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
        kept = sorted((cache / re.split("[@:]", reference)[0]).glob("[!.]*"))
        if not kept:
            raise
        raise RunError(
            f"{error}. No kept version is taken in its place: load {kept[-1]} to play one all "
            "the same"
        ) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as scratch:
            fetched = Path(scratch) / version
            registry.pull(f"{name}:{version}", fetched)
            with _one_at_a_time(cache):
                # What is in its place has another process just fetched; or it is damaged, or of
                # another store.
                if not registry.is_copy(folder, name, version):
                    if folder.exists():
                        folder.rename(Path(scratch) / "replaced")
                    fetched.rename(folder)
    except OSError as error:
        raise UsageError(
            f"the cache {cache} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a "
            "folder that can"
        ) from error
    return folder


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    """Two that replace a damaged copy would each move away what the other has just put there."""
    with (cache / ".lock").open("a") as lock:
        # The system frees it when the file is closed, and when the process dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/q-chunking/policies`, by default in `~/.cache` (UsageError: no home)."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise UsageError(
            "this user has no home folder for the cache: set XDG_CACHE_HOME"
        ) from error
    return root.absolute() / "q-chunking" / "policies"

"""Objects under keys, whole or absent: what a folder and a bucket have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

# Written and removed to see whether a store can be written.
PROBE = ".write-probe"


class NoSuchObject(KeyError):
    """There is nothing under that key."""


class ObjectStore(Protocol):
    """Keys are relative paths with forward slashes."""

    def describe(self) -> str:
        """The store as a person would name it."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write or replace one object; a reader sees the old one or the new one."""
        ...

    def put_file(self, key: str, path: Path) -> None:
        """The same from a file, without holding it in memory."""
        ...

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Write one object if it still is what it was; False if another has written it.

        Where content that equals this one is there already, it counts as written: an answer that
        is lost on its way is no failure.

        Args:
            tag: what `get_tagged` gave; None writes only where there is nothing.
        """
        ...

    def get(self, key: str) -> bytes:
        """Read one object (NoSuchObject)."""
        ...

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """Read one object and the tag by which `put_if` knows it (NoSuchObject)."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Read one object into a file (NoSuchObject)."""
        ...

    def delete(self, key: str) -> None:
        """Remove one object; nothing there is fine."""
        ...

    def delete_folder(self, prefix: str) -> None:
        """Remove everything below a prefix that ends in '/', what was left half written too."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a prefix that ends in '/'."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a prefix that ends in '/', sorted."""
        ...

    def check(self) -> None:
        """Raise UsageError or RunError unless the store answers; writes nothing."""
        ...

    def require_writable(self) -> None:
        """Raise UsageError or RunError unless an object can be written."""
        ...

"""The interface of all stores: objects under keys. Readers see an object complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from qc_core.errors import RunError, TransientError

# Written and removed to check that a store is writable.
PROBE = ".write-probe"


class NoSuchObject(KeyError):
    """There is no object with this key."""


class StoreUnavailable(TransientError):
    """The store does not answer within its time limit. It says nothing about the objects."""


class DamagedObject(RunError):
    """An object of the store is incomplete or altered; every reading gives the same bytes."""


class ObjectStore(Protocol):
    """A store of objects. Keys are relative paths with forward slashes.

    Every method can raise StoreUnavailable, and UsageError if the store refuses the request.
    Methods that read can raise DamagedObject.
    """

    def describe(self) -> str:
        """Return the store's address for messages."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write or replace one object; readers see the old or the new content."""
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Write or replace one object from a file, without loading it into memory."""
        ...

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Compare-and-set: write one object if it is unchanged since `get_tagged`.

        An object that already has this content counts as written, so a retry after a lost
        response succeeds.

        Args:
            tag: the tag from `get_tagged`; None writes only if the object does not exist.

        Returns:
            Whether the object has this content now.
        """
        ...

    def get(self, key: str) -> bytes:
        """Read one object (NoSuchObject)."""
        ...

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """Read one object and its tag for `put_if` (NoSuchObject)."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Read one object into a file (NoSuchObject)."""
        ...

    def delete(self, key: str) -> None:
        """Remove one object if it exists."""
        ...

    def delete_folder(self, prefix: str) -> None:
        """Remove all objects below a prefix that ends in '/', including unfinished writes."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield every key below a prefix that ends in '/'."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Return the sorted names of the folders directly below a prefix that ends in '/'."""
        ...

    def check(self) -> None:
        """Raise UsageError or RunError unless the store answers; writes nothing."""
        ...

    def require_writable(self) -> None:
        """Raise UsageError or RunError unless an object can be written."""
        ...

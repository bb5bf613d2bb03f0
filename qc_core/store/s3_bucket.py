"""Sends requests to a bucket and repeats them until they succeed or their time is over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

from qc_core.errors import UsageError
from qc_core.store.deadline import SHARE, Deadline, Unanswered
from qc_core.store.objects import NoSuchObject
from qc_core.store.s3_client import STORE, Account, connect
from qc_core.store.s3_errors import not_from_s3, translate

TIMEOUT_VARIABLE = "QC_S3_TIMEOUT"
# The key of an object's checksum in its metadata.
SHA256 = "sha256"
_DEFAULT_TIMEOUT_SECONDS = 60.0
# Time is added for this transfer rate.
_SLOWEST_BYTES_PER_SECOND = 100_000
T = TypeVar("T")


class S3Bucket:
    """A bucket, whose keys start with a prefix.

    Attributes:
        name: of the bucket.
        region: of the client.
        address: of the store, for messages.
    """

    def __init__(self, name: str, prefix: str, account: Account = STORE) -> None:
        self._seconds = timeout_seconds()
        self._client = connect(self._seconds * SHARE, account)
        self._prefix = f"{prefix}/" if prefix else ""
        self.name, self.region = name, self._client.meta.region_name
        self.address = f"s3://{name}/{prefix} at {self._client.meta.endpoint_url}"

    def object_name(self, key: str) -> str:
        """Return the name in the bucket of a key of the store."""
        return self._prefix + key

    def key(self, object_name: str) -> str:
        """Return the key of an object below the prefix."""
        return object_name.removeprefix(self._prefix)

    def repeat(self, attempt: Callable[[Deadline], T], size: int = 0) -> T:
        """Call `attempt` until it no longer raises Unanswered.

        Args:
            size: bytes that it transfers; each MB adds 10 s to its time.

        Raises:
            StoreUnavailable: its time is over.
        """
        seconds = self._seconds + size / _SLOWEST_BYTES_PER_SECOND
        deadline = Deadline(self.address, seconds)
        return deadline.repeat(lambda: attempt(deadline))

    def request(
        self, deadline: Deadline, operation: str, key: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Send one request to the bucket, or to one of its objects, and return the response.

        Args:
            operation: the method of botocore's client.

        Raises:
            Exception: as `translate` returns.
        """
        if key is not None:
            parameters["Key"] = self.object_name(key)
        method = getattr(self._client, operation)
        return self.limit(deadline, lambda: method(Bucket=self.name, **parameters), key or "")

    def limit(self, deadline: Deadline, call: Callable[[], T], key: str) -> T:
        """Return the result of a call of botocore (raises as `translate` returns)."""
        try:
            return deadline.limit(call)
        except Unanswered:
            raise
        except Exception as error:
            raise translate(error, self.address, self.name, key) from error

    def put(self, deadline: Deadline, operation: str, key: str, content: bytes, **more: Any) -> str:
        """Write bytes with `put_object` or `upload_part`, and return the ETag of the response.

        Raises:
            Unanswered: also if the response does not show that the server has these bytes.
        """
        answer = self.request(deadline, operation, key, Body=content, **more)
        tag = str(answer.get("ETag", ""))
        if not tag:
            raise not_from_s3(answer["ResponseMetadata"]["HTTPStatusCode"])
        # With some kinds of encryption, an ETag is not the MD5 of the content.
        if tag.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest():
            return tag
        if operation == "put_object":
            self.confirm(deadline, key, len(content), more["Metadata"][SHA256])
        return tag

    def confirm(self, deadline: Deadline, key: str, size: int, sha256: str) -> None:
        """Raise Unanswered unless an object has this size and checksum."""
        try:
            found = self.request(deadline, "head_object", key)
        except NoSuchObject:
            found = {}
        there = (found.get("ContentLength"), found.get("Metadata", {}).get(SHA256))
        if not found.get("ETag") or there != (size, sha256):
            raise Unanswered("it confirms a write that it did not make")


def timeout_seconds() -> float:
    """Return the seconds that a request may take, `QC_S3_TIMEOUT` (UsageError: invalid)."""
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return _DEFAULT_TIMEOUT_SECONDS
    try:
        seconds = float(text)
        # Comparisons with NaN are false.
        if not 0 < seconds <= 86400:
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"{TIMEOUT_VARIABLE} must be seconds above 0, at most 86400, got {text[:50]!r}"
        ) from error
    return seconds

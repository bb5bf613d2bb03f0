"""Reads an object; after an interruption, continues at the byte where it stopped."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from botocore.response import StreamingBody

from qc_core.store.deadline import Deadline, Unanswered
from qc_core.store.objects import DamagedObject, NoSuchObject, StoreUnavailable
from qc_core.store.s3_bucket import SHA256, S3Bucket
from qc_core.store.s3_errors import Changed, not_from_s3

_BLOCK = 1 << 18
_SMALLEST_BLOCK = 1 << 10
# As many equal wrong readings prove that the object is damaged, not the way to it.
_PROOF = 3
_MAX_READINGS = 10


def download(bucket: S3Bucket, key: str, file: BinaryIO) -> str:
    """Write an object to a file and return its ETag.

    Raises:
        NoSuchObject: there is no such object.
        DamagedObject: the object does not have its checksum.
        StoreUnavailable: the server does not answer, or sends different bytes each time.
    """
    wrong: Counter[str] = Counter()
    for _ in range(_MAX_READINGS):
        file.seek(0)
        file.truncate()
        reading = _Reading(bucket, key)
        try:
            for block in reading:
                file.write(block)
        except Changed:
            # It was replaced while it was read.
            continue
        if reading.is_verified() or reading.is_confirmed():
            return reading.tag
        wrong[reading.digest] += 1
        if wrong[reading.digest] == _PROOF:
            raise DamagedObject(
                f"{key} in {bucket.address} is altered: it does not have its checksum"
            )
    raise StoreUnavailable(
        f"{bucket.address} sends different bytes of {key} each time ({_MAX_READINGS} readings): "
        "check the network and QC_S3_ENDPOINT"
    )


class _Reading:
    """One reading of an object, in blocks.

    Attributes:
        tag: the ETag, once the first block was read.
    """

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._answer: dict[str, Any] = {}
        self._body: StreamingBody | None = None
        self._offset, self._size = 0, -1
        self._block = _BLOCK
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.tag = ""

    def __iter__(self) -> Iterator[bytes]:
        while self._offset != self._size:
            block = self._bucket.repeat(self._read, _BLOCK)
            self._offset += len(block)
            self._sha256.update(block)
            self._md5.update(block)
            if block:
                yield block

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()

    def is_verified(self) -> bool:
        """Return whether the bytes have the checksum of the object or its ETag."""
        expected = self._answer.get("Metadata", {}).get(SHA256)
        if expected is not None:
            return expected == self.digest
        return self.tag.strip('"') == self._md5.hexdigest()

    def is_confirmed(self) -> bool:
        """Return whether the server describes the object as it was read.

        Objects of other programs have no checksum, and with some kinds of encryption the ETag is
        not the MD5.
        """
        if SHA256 in self._answer.get("Metadata", {}):
            return False

        def attempt(deadline: Deadline) -> bool:
            try:
                found = self._bucket.request(deadline, "head_object", self._key)
            except NoSuchObject:
                return False
            return (found.get("ETag"), found.get("ContentLength")) == (self.tag, self._size)

        return self._bucket.repeat(attempt)

    def _read(self, deadline: Deadline) -> bytes:
        """Read a block (Unanswered: the connection was interrupted; the next call continues)."""
        body = self._body = self._body or self._open(deadline)
        count = min(self._block, self._size - self._offset)
        if not count:
            return b""
        try:
            block: bytes = self._bucket.limit(deadline, lambda: body.read(count), self._key)
            if len(block) < count:
                raise Unanswered("interrupted response")
        except Unanswered:
            body.close()
            self._body = None
            # A connection that always breaks after some bytes makes progress with smaller blocks.
            self._block = max(self._block // 4, _SMALLEST_BLOCK)
            raise
        self._block = min(self._block * 2, _BLOCK)
        return block

    def _open(self, deadline: Deadline) -> StreamingBody:
        """Ask for the object from the current byte on."""
        rest = {"Range": f"bytes={self._offset}-", "IfMatch": self.tag} if self._offset else {}
        answer = self._bucket.request(deadline, "get_object", self._key, **rest)
        tag, size = str(answer.get("ETag", "")), answer.get("ContentLength")
        if not tag or not isinstance(size, int):
            raise not_from_s3(answer["ResponseMetadata"]["HTTPStatusCode"])
        if not self._offset:
            self._answer, self.tag, self._size = answer, tag, size
        elif answer.get("ContentRange") != f"bytes {self._offset}-{self._size - 1}/{self._size}":
            raise Unanswered("it sends another part than was asked for")
        return answer["Body"]

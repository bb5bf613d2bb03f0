"""A store in an S3 bucket, of AWS or any other S3 server.

A response counts only if it is from S3 and complete: an object carries its SHA-256 as metadata, and
the server confirms each write. `S3Bucket` repeats requests that fail.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from qc_core.store.deadline import Deadline
from qc_core.store.objects import PROBE, NoSuchObject
from qc_core.store.s3_bucket import SHA256, S3Bucket
from qc_core.store.s3_client import STORE, Account, split_location
from qc_core.store.s3_download import download
from qc_core.store.s3_errors import Changed, NotImplementedByServer, not_from_s3
from qc_core.store.s3_upload import PART_BYTES, remove_unfinished_uploads, upload


class S3Store:
    """Stores objects below a prefix of one bucket.

    The server is that of the account: `QC_S3_ENDPOINT` for the store, default AWS. `QC_S3_TIMEOUT`
    limits the seconds (60) that a request may take with all its repetitions; each MB that it
    transfers adds 10 s.
    """

    def __init__(self, url: str, account: Account = STORE) -> None:
        self._bucket = S3Bucket(*split_location(url), account)

    def describe(self) -> str:
        return self._bucket.address

    def put(self, key: str, content: bytes) -> None:
        self._put(key, content, {})

    def put_file(self, key: str, path: Path) -> None:
        if path.stat().st_size <= PART_BYTES:
            self.put(key, path.read_bytes())
        else:
            upload(self._bucket, key, path)

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Compare-and-set with a conditional write of the server.

        On a server without conditional writes this is a plain write: it replaces changes that
        others make between the caller's reading and writing.
        """
        try:
            self._put(key, content, {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag})
        except (Changed, NoSuchObject):
            return self._holds(key, content)
        except NotImplementedByServer:
            self.put(key, content)
        return True

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        file = io.BytesIO()
        tag = download(self._bucket, key, file)
        return file.getvalue(), tag

    def get_file(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            download(self._bucket, key, file)

    def delete(self, key: str) -> None:
        def attempt(deadline: Deadline) -> None:
            answer = self._bucket.request(deadline, "delete_object", key)["ResponseMetadata"]
            # A proxy could have sent this empty response.
            if "x-amz-request-id" not in answer["HTTPHeaders"]:
                with suppress(NoSuchObject):
                    self._bucket.request(deadline, "head_object", key)
                    raise not_from_s3(answer["HTTPStatusCode"])

        self._bucket.repeat(attempt)

    def delete_folder(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)
        remove_unfinished_uploads(self._bucket, prefix, timedelta(0))

    def keys(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix):
            for entry in page.get("Contents", []):
                yield self._bucket.key(entry["Key"])

    def folders(self, prefix: str) -> list[str]:
        return sorted(
            self._bucket.key(entry["Prefix"]).removeprefix(prefix).rstrip("/")
            for page in self._pages(prefix, Delimiter="/")
            for entry in page.get("CommonPrefixes", [])
        )

    def check(self) -> None:
        # The bucket itself is not asked for: the keys may be limited to the prefix.
        next(self._pages("", MaxKeys=1), None)

    def require_writable(self) -> None:
        self.check()
        self.put(PROBE, b"")
        self.delete(PROBE)

    def _put(self, key: str, content: bytes, condition: dict[str, str]) -> None:
        metadata = {SHA256: hashlib.sha256(content).hexdigest()}

        def attempt(deadline: Deadline) -> None:
            self._bucket.put(deadline, "put_object", key, content, Metadata=metadata, **condition)

        self._bucket.repeat(attempt, len(content))

    def _holds(self, key: str, content: bytes) -> bool:
        try:
            return self.get(key) == content
        except NoSuchObject:
            return False

    def _pages(self, prefix: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing."""
        below, token = self._bucket.object_name(prefix), {}

        def attempt(deadline: Deadline) -> dict[str, Any]:
            page = self._bucket.request(
                deadline, "list_objects_v2", Prefix=below, **options, **token
            )
            names = [entry["Key"] for entry in page.get("Contents", [])]
            names += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
            # Any other XML document would be read as an empty listing.
            complete = page.get("NextContinuationToken") if page.get("IsTruncated") else "end"
            if (
                "IsTruncated" not in page
                or not complete
                or not all(name.startswith(below) for name in names)
            ):
                raise not_from_s3(page["ResponseMetadata"]["HTTPStatusCode"])
            return page

        while True:
            page = self._bucket.repeat(attempt)
            yield page
            if not page["IsTruncated"]:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

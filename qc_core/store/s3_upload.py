"""Writes a large object in parts."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from qc_core.errors import QCError
from qc_core.files import sha256_of
from qc_core.store.deadline import Deadline
from qc_core.store.objects import NoSuchObject
from qc_core.store.s3_bucket import SHA256, S3Bucket
from qc_core.store.s3_errors import NotImplementedByServer, not_from_s3

PART_BYTES = 16 << 20
_MAX_PARTS = 10_000
# No upload takes so long. An older one was interrupted.
_UPLOADING = timedelta(days=1)


def upload(bucket: S3Bucket, key: str, path: Path) -> None:
    """Write an object from a file in parts; if it fails, the parts are removed.

    First removes the parts of uploads below the store's prefix that were interrupted over a day
    ago.
    """
    remove_unfinished_uploads(bucket, "", _UPLOADING)
    size, sha256 = path.stat().st_size, sha256_of(path)
    upload_id = bucket.repeat(lambda deadline: _start(bucket, deadline, key, sha256))
    try:
        tags = _put_parts(bucket, key, path, upload_id)

        def complete(deadline: Deadline) -> None:
            parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
            # An earlier attempt whose response was lost has ended the upload.
            with suppress(NoSuchObject):
                bucket.request(
                    deadline,
                    "complete_multipart_upload",
                    key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},
                )
            bucket.confirm(deadline, key, size, sha256)

        bucket.repeat(complete)
    except BaseException:
        with suppress(QCError):
            bucket.repeat(lambda deadline: _abort(bucket, deadline, key, upload_id))
        raise


def remove_unfinished_uploads(bucket: S3Bucket, prefix: str, age: timedelta) -> None:
    """Remove the parts of uploads below a prefix that started at least `age` ago.

    A store that does not allow it keeps them; a rule of the bucket can remove them too.
    """
    limit = datetime.now(timezone.utc) - age
    with suppress(QCError, NotImplementedByServer):
        page = bucket.repeat(
            lambda deadline: bucket.request(
                deadline, "list_multipart_uploads", Prefix=bucket.object_name(prefix)
            )
        )
        for entry in page.get("Uploads", []):
            key, upload_id = bucket.key(entry["Key"]), entry["UploadId"]
            if entry["Initiated"] <= limit:
                bucket.repeat(lambda deadline, k=key, i=upload_id: _abort(bucket, deadline, k, i))


def _start(bucket: S3Bucket, deadline: Deadline, key: str, sha256: str) -> str:
    answer = bucket.request(deadline, "create_multipart_upload", key, Metadata={SHA256: sha256})
    if not answer.get("UploadId"):
        raise not_from_s3(answer["ResponseMetadata"]["HTTPStatusCode"])
    return answer["UploadId"]


def _put_parts(bucket: S3Bucket, key: str, path: Path, upload_id: str) -> list[str]:
    """Send the parts and return their ETags."""
    part_bytes = max(PART_BYTES, -(-path.stat().st_size // _MAX_PARTS))
    tags = []
    with path.open("rb") as file:
        while content := file.read(part_bytes):
            more = {"PartNumber": len(tags) + 1, "UploadId": upload_id}

            def attempt(deadline: Deadline, content: bytes = content, more: Any = more) -> str:
                return bucket.put(deadline, "upload_part", key, content, **more)

            tags.append(bucket.repeat(attempt, len(content)))
    return tags


def _abort(bucket: S3Bucket, deadline: Deadline, key: str, upload_id: str) -> None:
    with suppress(NoSuchObject):
        bucket.request(deadline, "abort_multipart_upload", key, UploadId=upload_id)

"""A store in an S3 bucket, MinIO's or any other."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3 import BaseHTTPResponse

from qc_core.errors import RunError, UsageError
from qc_core.store.objects import PROBE, NoSuchObject

# Each retry would be a line of its own before the one that says what is wrong.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_DEFAULT_ENDPOINT = "https://s3.amazonaws.com"
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
# What S3 says where an object is no longer the one that a condition names.
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
_NOT_IMPLEMENTED = 501
_BLOCK = 1 << 20
_RETRIES = urllib3.Retry(3, backoff_factor=0.3, status_forcelist=(500, 502, 503, 504))


class S3Store:
    """Objects below a prefix of one bucket.

    The endpoint comes from `QC_S3_ENDPOINT`, the keys from `AWS_ACCESS_KEY_ID` and
    `AWS_SECRET_ACCESS_KEY`, the region from `AWS_REGION`.
    """

    def __init__(self, url: str) -> None:
        parts = _split(url, "QC_STORE", "s3://bucket/prefix")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        if not self._bucket:
            raise UsageError("QC_STORE needs a bucket: s3://bucket/prefix")
        if {":", "@"} & set(self._bucket):
            raise _holds_keys("QC_STORE")
        endpoint = os.environ.get("QC_S3_ENDPOINT") or _DEFAULT_ENDPOINT
        target = _split(endpoint, "QC_S3_ENDPOINT", "http://host:port or https://…")
        if "@" in endpoint:
            raise _holds_keys("QC_S3_ENDPOINT")
        if target.scheme not in ("http", "https") or not target.netloc or target.path.strip("/"):
            raise UsageError(
                f"QC_S3_ENDPOINT must be http://host:port or https://…, got {endpoint}"
            )
        self._endpoint = endpoint
        try:
            self._client = Minio(
                endpoint=target.netloc,
                access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
                secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
                region=os.environ.get("AWS_REGION") or "us-east-1",
                secure=target.scheme == "https",
                http_client=urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES),
            )
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"the store's settings cannot be used ({error}): check QC_S3_ENDPOINT, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error

    def describe(self) -> str:
        return f"s3://{self._bucket}/{self._prefix} at {self._endpoint}"

    def put(self, key: str, content: bytes) -> None:
        with self._talking(key):
            self._client.put_object(
                bucket_name=self._bucket,
                object_name=self._name(key),
                data=io.BytesIO(content),
                length=len(content),
            )

    def put_file(self, key: str, path: Path) -> None:
        with self._talking(key):
            self._client.fput_object(
                bucket_name=self._bucket, object_name=self._name(key), file_path=str(path)
            )

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Compare and set, by the server's own conditional write.

        A server that ignores the condition, or says that it has none, is left with what it had
        before: whoever writes between this caller's reading and writing is overwritten.
        """
        condition: dict[str, Any] = {"If-None-Match": "*"} if tag is None else {"If-Match": tag}
        with self._talking(key):
            try:
                # The public `put_object` makes metadata of every header that it does not know.
                self._client._put_object(self._bucket, self._name(key), content, condition)
            except S3Error as error:
                if error.response.status == _NOT_IMPLEMENTED:
                    self.put(key, content)
                elif error.code in _CHANGED:
                    return self._holds(key, content)
                else:
                    raise
        return True

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        with self._reading(key) as response:
            return response.read(), response.headers["ETag"]

    def get_file(self, key: str, path: Path) -> None:
        # `fget_object` asks twice for each file.
        with self._reading(key) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, _BLOCK)

    def delete(self, key: str) -> None:
        with self._talking(key):
            self._client.remove_object(bucket_name=self._bucket, object_name=self._name(key))

    def delete_folder(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)

    def keys(self, prefix: str) -> Iterator[str]:
        with self._talking(prefix):
            for entry in self._client.list_objects(
                bucket_name=self._bucket, prefix=self._name(prefix), recursive=True
            ):
                yield self._key(entry.object_name or "")

    def folders(self, prefix: str) -> list[str]:
        with self._talking(prefix):
            entries = self._client.list_objects(
                bucket_name=self._bucket, prefix=self._name(prefix), recursive=False
            )
            return sorted(
                self._key(entry.object_name or "").removeprefix(prefix).rstrip("/")
                for entry in entries
                if entry.is_dir
            )

    def check(self) -> None:
        with self._talking(""):
            if not self._client.bucket_exists(bucket_name=self._bucket):
                raise UsageError(f"{self._endpoint} has no bucket {self._bucket}: create it first")

    def make_bucket(self) -> bool:
        """Make the bucket unless it is there; return whether it was made."""
        with self._talking(""):
            if self._client.bucket_exists(bucket_name=self._bucket):
                return False
            self._client.make_bucket(bucket_name=self._bucket)
            return True

    def require_writable(self) -> None:
        self.check()
        self.put(PROBE, b"")
        self.delete(PROBE)

    def _holds(self, key: str, content: bytes) -> bool:
        try:
            return self.get(key) == content
        except NoSuchObject:
            return False

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _key(self, name: str) -> str:
        return name.removeprefix(f"{self._prefix}/") if self._prefix else name

    @contextmanager
    def _reading(self, key: str) -> Iterator[BaseHTTPResponse]:
        with self._talking(key):
            response = self._client.get_object(
                bucket_name=self._bucket, object_name=self._name(key)
            )
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @contextmanager
    def _talking(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise NoSuchObject(key) from error
            if error.code == "NoSuchBucket":
                raise UsageError(
                    f"{self._endpoint} has no bucket {self._bucket}: create it first"
                ) from error
            raise UsageError(
                f"{self.describe()} refuses ({error.code}): check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and the bucket's policy"
            ) from error
        except ValueError as error:
            raise UsageError(f"QC_STORE=s3://{self._bucket}/… cannot be used: {error}") from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise RunError(
                f"{self.describe()} does not answer ({type(error).__name__}): check QC_S3_ENDPOINT"
            ) from error


def _split(url: str, variable: str, form: str) -> SplitResult:
    """The parts of an address (UsageError: it has none)."""
    try:
        return urlsplit(url)
    except ValueError:
        # The cause quotes the address, which may hold keys.
        raise UsageError(f"{variable} must be {form}: what it holds is no address") from None


def _holds_keys(variable: str) -> UsageError:
    """The refusal of an address with a user or a key before the host, of which it shows nothing."""
    return UsageError(
        f"{variable} must be an address without keys: they belong in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY"
    )

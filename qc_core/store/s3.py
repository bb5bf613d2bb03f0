"""A store in an S3 bucket of MinIO or any other S3 service."""

from __future__ import annotations

import io
import logging
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3 import BaseHTTPResponse

from qc_core.errors import RunError, UsageError
from qc_core.store.objects import PROBE, NoSuchObject

# urllib3 would log a line for each retry; the error message at the end is enough.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_DEFAULT_ENDPOINT = "https://s3.amazonaws.com"
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
# S3's error codes for an object that no longer satisfies a condition.
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
# A signed address is used at once; clocks may differ by some minutes.
_ADDRESS_LIFETIME = timedelta(minutes=15)
_NOT_IMPLEMENTED = 501
_BLOCK = 1 << 20
_RETRIES = urllib3.Retry(3, backoff_factor=0.3, status_forcelist=(500, 502, 503, 504))


class S3Store:
    """Stores objects below a prefix of one bucket.

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
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES)
        try:
            self._client = Minio(
                endpoint=target.netloc,
                access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
                secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
                region=os.environ.get("AWS_REGION") or "us-east-1",
                secure=target.scheme == "https",
                http_client=self._http,
            )
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"the settings of the store are invalid ({error}): check QC_S3_ENDPOINT, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error

    def describe(self) -> str:
        return f"s3://{self._bucket}/{self._prefix} at {self._endpoint}"

    def put(self, key: str, content: bytes) -> None:
        with self._errors_as_lines(key):
            self._client.put_object(
                bucket_name=self._bucket,
                object_name=self._name(key),
                data=io.BytesIO(content),
                length=len(content),
            )

    def put_file(self, key: str, path: Path) -> None:
        with self._errors_as_lines(key):
            self._client.fput_object(
                bucket_name=self._bucket, object_name=self._name(key), file_path=str(path)
            )

    def put_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Compare-and-set with a conditional write of the server.

        On a server without conditional writes this is a plain write: it replaces changes that
        others make between the caller's reading and writing.
        """
        condition = {"If-None-Match": "*"} if tag is None else {"If-Match": tag}
        with self._errors_as_lines(key):
            # `put_object` has no conditions. S3 applies the headers of a request to a presigned
            # address too.
            address = self._client.get_presigned_url(
                "PUT", self._bucket, self._name(key), expires=_ADDRESS_LIFETIME
            )
            response = self._http.request("PUT", address, body=content, headers=condition)
            if response.status < 300:
                return True
            if response.status == _NOT_IMPLEMENTED:
                self.put(key, content)
                return True
            error = self._error_in(response)
            if error.code in _CHANGED:
                return self._holds(key, content)
            raise error

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        with self._reading(key) as response:
            return response.read(), response.headers["ETag"]

    def get_file(self, key: str, path: Path) -> None:
        # `fget_object` sends two requests for each file.
        with self._reading(key) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, _BLOCK)

    def delete(self, key: str) -> None:
        with self._errors_as_lines(key):
            self._client.remove_object(bucket_name=self._bucket, object_name=self._name(key))

    def delete_folder(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)

    def keys(self, prefix: str) -> Iterator[str]:
        with self._errors_as_lines(prefix):
            for entry in self._client.list_objects(
                bucket_name=self._bucket, prefix=self._name(prefix), recursive=True
            ):
                yield self._key(entry.object_name or "")

    def folders(self, prefix: str) -> list[str]:
        with self._errors_as_lines(prefix):
            entries = self._client.list_objects(
                bucket_name=self._bucket, prefix=self._name(prefix), recursive=False
            )
            return sorted(
                self._key(entry.object_name or "").removeprefix(prefix).rstrip("/")
                for entry in entries
                if entry.is_dir
            )

    def check(self) -> None:
        with self._errors_as_lines(""):
            if not self._client.bucket_exists(bucket_name=self._bucket):
                raise UsageError(f"{self._endpoint} has no bucket {self._bucket}: create it first")

    def make_bucket(self) -> bool:
        """Create the bucket if it does not exist; return whether it was created."""
        with self._errors_as_lines(""):
            if self._client.bucket_exists(bucket_name=self._bucket):
                return False
            self._client.make_bucket(bucket_name=self._bucket)
            return True

    def require_writable(self) -> None:
        self.check()
        self.put(PROBE, b"")
        self.delete(PROBE)

    def _error_in(self, response: BaseHTTPResponse) -> S3Error:
        """Return S3's error in a response (RunError: the response is not one of S3)."""
        try:
            return S3Error.fromxml(response)
        except (ET.ParseError, ValueError) as error:
            raise RunError(
                f"{self.describe()} does not answer as S3 does (status {response.status}): "
                "check QC_S3_ENDPOINT"
            ) from error

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
        with self._errors_as_lines(key):
            response = self._client.get_object(
                bucket_name=self._bucket, object_name=self._name(key)
            )
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @contextmanager
    def _errors_as_lines(self, key: str) -> Iterator[None]:
        """Convert errors of the client and of the connection to one-line errors."""
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
    """Split an address into its parts (UsageError: not an address)."""
    try:
        return urlsplit(url)
    except ValueError:
        # The cause quotes the address, which may contain keys.
        raise UsageError(f"{variable} must be {form}: its value is not an address") from None


def _holds_keys(variable: str) -> UsageError:
    """Return the error for an address that contains keys; the message does not show them."""
    return UsageError(
        f"{variable} must be an address without keys: they belong in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY"
    )

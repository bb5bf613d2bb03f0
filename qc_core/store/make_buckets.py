"""Creates missing buckets with MinIO's client: `python -m qc_core.store.make_buckets BUCKET …`.

It needs only clients of S3, so it runs in the runtime image.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials.providers import EnvAWSProvider
from minio.error import MinioException, S3Error
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from qc_core.errors import QCError, RunError, UsageError
from qc_core.store.deadline import SHARE, Deadline, Unanswered
from qc_core.store.s3_bucket import timeout_seconds
from qc_core.store.s3_client import DEFAULT_REGION, endpoint

_AWS = "https://s3.amazonaws.com"


def make_buckets(names: list[str]) -> list[str]:
    """Create the buckets that do not exist and return their names.

    Raises:
        RunError: the server does not answer, or refuses.
        UsageError: a name or a setting in the environment is invalid.
    """
    seconds, address = timeout_seconds(), endpoint() or _AWS
    client = _client(address, seconds * SHARE)
    made = []
    for name in names:
        deadline = Deadline(f"s3://{name} at {address}", seconds)
        if deadline.repeat(partial(_make, client, name)):
            made.append(name)
    return made


def _client(address: str, timeout: float) -> Minio:
    server = urlsplit(address)
    return Minio(
        endpoint=server.netloc,
        credentials=EnvAWSProvider(),
        secure=server.scheme == "https",
        region=os.environ.get("AWS_REGION") or DEFAULT_REGION,
        # `Deadline` repeats requests.
        http_client=PoolManager(timeout=timeout, retries=False),
    )


def _make(client: Minio, name: str) -> bool:
    """Create a bucket; returns whether it was missing (Unanswered: try again)."""
    try:
        if client.bucket_exists(bucket_name=name):
            return False
        client.make_bucket(bucket_name=name)
    except S3Error as error:
        raise RunError(f"bucket {name} cannot be created: {error.code}, {error.message}") from error
    except (MinioException, HTTPError) as error:
        raise Unanswered(type(error).__name__) from error
    except ValueError as error:
        raise UsageError(f"{name} cannot be the name of a bucket: {error}") from error
    return True


def main(names: list[str]) -> int:
    try:
        created = make_buckets(names)
    except QCError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name in names:
        print(f"{name}: {'created' if name in created else 'already exists'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

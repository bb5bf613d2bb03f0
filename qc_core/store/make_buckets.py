"""Make the buckets that are missing: `python -m qc_core.store.make_buckets BUCKET …`.

Needs no more than the minio client, so that it runs in the small image.
"""

from __future__ import annotations

import sys

from qc_core.errors import QCError
from qc_core.store.s3 import S3Store


def make_buckets(names: list[str]) -> list[str]:
    """Return those that were not there before.

    Raises:
        RunError: the server does not answer.
        UsageError: a name or the environment's settings cannot be used.
    """
    return [name for name in names if S3Store(f"s3://{name}").make_bucket()]


def main(names: list[str]) -> int:
    try:
        made = make_buckets(names)
    except QCError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name in names:
        print(f"{name}: {'made' if name in made else 'is there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

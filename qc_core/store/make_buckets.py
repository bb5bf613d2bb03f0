"""Creates missing buckets: `python -m qc_core.store.make_buckets BUCKET …`.

It needs only the S3 client, so it runs in the runtime image.
"""

from __future__ import annotations

import sys

from qc_core.errors import QCError
from qc_core.store.s3 import S3Store


def make_buckets(names: list[str]) -> list[str]:
    """Create the buckets that do not exist and return their names.

    Raises:
        RunError: the server does not answer.
        UsageError: a name or a setting in the environment is invalid.
    """
    return [name for name in names if S3Store(f"s3://{name}").make_bucket()]


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

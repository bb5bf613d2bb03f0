"""Names that are safe as a part of an object key in every store."""

from __future__ import annotations

import re

from qc_core.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def is_name(name: str) -> bool:
    """Whether a name is valid for a policy, an alias or, in lower case, a version."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str, what: str = "policy name") -> None:
    """Raise UsageError for a name that is not safe as a part of a key."""
    if not is_name(name):
        raise UsageError(
            f"the {what} has up to 100 lower-case letters, digits, dots, dashes and "
            f"underscores, and starts with a letter or digit, got {name!r}"
        )

"""Names that are safe as parts of a key in any store."""

from __future__ import annotations

import re

from qc_core.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def is_name(name: str) -> bool:
    """Whether it can name a policy, an alias or, in lower case, a version."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str, what: str = "policy name") -> None:
    """Refuse a name that could mean another place in the store (UsageError)."""
    if not is_name(name):
        raise UsageError(
            f"the {what} has up to 100 lower-case letters, digits, dots, dashes and underscores, "
            f"the first a letter or digit, got {name!r}"
        )

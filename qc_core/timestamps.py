"""Unique names that start with the time of their creation."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone

_FORMAT = "%Y%m%dT%H%M%S"


def new_stamp() -> str:
    """Return a unique name, such as 20261125T163346-1f0c9a2b (UTC); names sort by time."""
    return f"{datetime.now(timezone.utc):{_FORMAT}}-{secrets.token_hex(4)}"


def older_than(stamp: str, age: timedelta) -> bool:
    """Whether a name of `new_stamp` is older than `age`; False for any other name."""
    try:
        created = datetime.strptime(stamp.partition("-")[0], _FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    return datetime.now(timezone.utc) - created > age

"""The time as documents have it, and unique names that start with the time of their creation."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone

_FORMAT = "%Y%m%dT%H%M%S"


def new_stamp() -> str:
    """Return a unique name, such as 20261125T163346-1f0c9a2b (UTC); names sort by time."""
    return f"{datetime.now(timezone.utc):{_FORMAT}}-{secrets.token_hex(4)}"


def utc_now() -> str:
    """Return the time as documents have it: ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def time_of(stamp: str) -> datetime | None:
    """Return when a name of `new_stamp` was made; None for any other name."""
    try:
        time = datetime.strptime(stamp.partition("-")[0].upper(), _FORMAT)
    except ValueError:
        return None
    return time.replace(tzinfo=timezone.utc)


def older_than(stamp: str, age: timedelta) -> bool:
    """Whether a name of `new_stamp` is older than `age`; False for any other name."""
    created = time_of(stamp)
    return created is not None and datetime.now(timezone.utc) - created > age

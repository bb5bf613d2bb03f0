"""Names that tell when a thing was begun, and that no two writers share."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta, timezone

_FORM = "%Y%m%dT%H%M%S"


def new_stamp() -> str:
    """Such as 20261125T163346-1f0c9a2b, in UTC: sorts by age."""
    return f"{datetime.now(timezone.utc):{_FORM}}-{secrets.token_hex(4)}"


def older_than(stamp: str, age: timedelta) -> bool:
    """Whether it was made so long ago; False for a name of another form."""
    try:
        made = datetime.strptime(stamp.partition("-")[0], _FORM).replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    return datetime.now(timezone.utc) - made > age

"""When a recurring run starts: a cron expression or an interval, checked before it is sent.

KFP reads cron with robfig/cron 1.2: six fields, the first one seconds. It has one time zone for
all its schedules, `cronScheduleTimezone` in its configuration (UTC unless changed), and no way
to name another one in a schedule.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import kfp_server_api

from qc_core.errors import UsageError

ZONE_VARIABLE = "KFP_TIME_ZONE"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Name, lowest value, highest value, names of values, of each field.
_FIELDS: list[tuple[str, int, int, dict[str, int]]] = [
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 6, {name: i for i, name in enumerate(_DAYS)}),
]
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(?P<all>[*?])|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")
_INTERVAL = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def cron_trigger(expression: str, time_zone: str | None = None) -> Any:
    """A trigger from a cron expression of five fields, or six with the seconds first.

    Args:
        time_zone: what the expression means; None is the zone that KFP schedules in.

    Raises:
        UsageError: no such expression, it never comes true, or KFP schedules in another zone.
    """
    fields = expression.split()
    if len(fields) not in (5, 6):
        raise UsageError(
            f"--cron has five fields, minute hour day month weekday, got {expression!r}"
        )
    # With five fields KFP would take the minute for the second.
    fields = ["0"] * (6 - len(fields)) + fields
    values = [
        _values(text, *field, expression) for text, field in zip(fields, _FIELDS, strict=True)
    ]
    days, months = values[3], values[4]
    longest = max(_DAYS_OF_MONTH[month - 1] for month in months)
    if fields[5] in ("*", "?") and min(days) > longest:
        raise UsageError(f"--cron never comes true, no such month has that day: {expression!r}")
    _require_zone(time_zone)
    return kfp_server_api.V2beta1Trigger(
        cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=" ".join(fields))
    )


def interval_trigger(interval: str) -> Any:
    """A trigger from an interval, `90m`, `12h` or `7d`.

    Raises:
        UsageError: no such interval.
    """
    match = _INTERVAL.fullmatch(interval)
    if match is None or int(match[1]) < 1:
        raise UsageError(f"--every is a number with s, m, h or d, such as 12h, got {interval!r}")
    seconds = int(match[1]) * _SECONDS[match[2]]
    return kfp_server_api.V2beta1Trigger(
        periodic_schedule=kfp_server_api.V2beta1PeriodicSchedule(interval_second=str(seconds))
    )


def describe_trigger(trigger: Any) -> str:
    """`cron 0 3 * * 1` or `every 12h`."""
    if trigger is not None and trigger.cron_schedule is not None:
        return f"cron {trigger.cron_schedule.cron.removeprefix('0 ')}"
    if trigger is not None and trigger.periodic_schedule is not None:
        seconds = int(trigger.periodic_schedule.interval_second)
        unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
        return f"every {seconds // _SECONDS[unit]}{unit}"
    return "never"


def server_zone() -> str:
    """The zone that KFP schedules in, as far as this machine is told."""
    return os.environ.get(ZONE_VARIABLE) or "UTC"


def _values(
    text: str, name: str, low: int, high: int, names: dict[str, int], expression: str
) -> set[int]:
    """The values that a field takes."""
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        bounds = (low, high) if match and match["all"] else _bounds(match, high, names)
        step = int(match["step"]) if match and match["step"] else 1
        if bounds is None or not low <= bounds[0] <= bounds[1] <= high or step < 1:
            raise UsageError(
                f"--cron: {name} takes {low} to {high}, as in 1, 1-5, 1,3 or */2, got {part!r} in "
                f"{expression!r}"
            )
        values |= set(range(bounds[0], bounds[1] + 1, step))
    return values


def _bounds(
    match: re.Match[str] | None, high: int, names: dict[str, int]
) -> tuple[int, int] | None:
    """First and last value of `3`, `3-5` or `3/2`, which goes on to the end; None is no range."""
    if match is None:
        return None
    ends = [match["low"], match["high"] or match["low"]]
    if not all(end.isdecimal() or end.lower() in names for end in ends):
        return None
    first, last = (int(end) if end.isdecimal() else names[end.lower()] for end in ends)
    return first, high if match["step"] and not match["high"] else last


def _require_zone(time_zone: str | None) -> None:
    """Refuse a zone whose clock is not KFP's in the coming year."""
    kept = server_zone()
    theirs = _zone(kept, ZONE_VARIABLE)
    if time_zone is None:
        return
    ours = _zone(time_zone, "--time-zone")
    today = datetime.now(timezone.utc)
    for day in range(366):
        moment = today + timedelta(days=day)
        if moment.astimezone(ours).utcoffset() != moment.astimezone(theirs).utcoffset():
            raise UsageError(
                f"KFP has one time zone for all its schedules, here {kept}, got --time-zone "
                f"{time_zone}: give the times in {kept}, or set cronScheduleTimezone of KFP to "
                f"{time_zone} and {ZONE_VARIABLE} here"
            )


def _zone(name: str, source: str) -> tzinfo:
    if name == "UTC":
        # Also on a machine without the time zone database.
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"{source} is a name such as Europe/Berlin or UTC, got {name!r}"
        ) from error

"""Triggers of recurring runs: a cron expression or an interval, validated before it is sent.

KFP reads cron expressions with robfig/cron 1.2, whose first of six fields is the second. All its
schedules use one time zone, `cronScheduleTimezone` in its configuration (default: UTC).
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import kfp_server_api
from cronsim import CronSim, CronSimError

from qc_core.errors import UsageError

TIME_ZONE_VARIABLE = "KFP_TIME_ZONE"
_INTERVAL = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def cron_trigger(expression: str) -> Any:
    """Return a trigger for a cron expression of five fields, or of six with the second first.

    Raises:
        UsageError: KFP cannot read the expression, or no date matches it.
    """
    fields = expression.split()
    try:
        if not expression.isascii():
            raise CronSimError("Bad character")
        # cronsim does not know `?`, which means `*`. It needs a date, which is not used.
        CronSim(" ".join(fields).replace("?", "*"), datetime.min)
        if "L" in fields[-3].upper() or set("7L#") & set(fields[-1].upper()):
            raise CronSimError("KFP does not support L, # and weekday 7")
    except CronSimError as error:
        raise UsageError(
            f"--cron must be `minute hour day month weekday`, weekday 0 (Sunday) to 6, such as "
            f"'0 3 * * 1', got {expression!r}: {error}"
        ) from error
    # Given five fields, KFP would read the minute as the second.
    fields = ["0"] * (6 - len(fields)) + fields
    return kfp_server_api.V2beta1Trigger(
        cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=" ".join(fields))
    )


def interval_trigger(interval: str) -> Any:
    """Return a trigger for an interval such as `90m`, `12h` or `7d` (UsageError: not one)."""
    match = _INTERVAL.fullmatch(interval)
    if match is None or int(match[1]) < 1:
        raise UsageError(
            f"--every must be a number with s, m, h or d, such as 12h, got {interval!r}"
        )
    seconds = int(match[1]) * _SECONDS[match[2]]
    return kfp_server_api.V2beta1Trigger(
        periodic_schedule=kfp_server_api.V2beta1PeriodicSchedule(interval_second=str(seconds))
    )


def describe_trigger(trigger: Any) -> str:
    """Return `cron 0 3 * * 1`, `every 12h` or `never`."""
    if trigger is not None and trigger.cron_schedule is not None:
        return f"cron {trigger.cron_schedule.cron.removeprefix('0 ')}"
    if trigger is not None and trigger.periodic_schedule is not None:
        seconds = int(trigger.periodic_schedule.interval_second)
        unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
        return f"every {seconds // _SECONDS[unit]}{unit}"
    return "never"


def missed_start(trigger: Any, since: datetime, now: datetime) -> datetime | None:
    """Return the first start between two times, in the server's zone; None if there is none.

    Args:
        since, now: with a time zone.
    """
    if trigger is None:
        return None
    if trigger.cron_schedule is not None:
        try:
            zone = ZoneInfo(server_zone())
            fields = trigger.cron_schedule.cron.replace("?", "*")
            start = next(CronSim(fields, since.astimezone(zone)))
        except (ZoneInfoNotFoundError, ValueError, CronSimError, StopIteration):
            return None
    elif trigger.periodic_schedule is not None:
        start = since + timedelta(seconds=int(trigger.periodic_schedule.interval_second))
    else:
        return None
    return start if start <= now else None


def server_zone() -> str:
    """Return the time zone of KFP's schedules: `KFP_TIME_ZONE`, or UTC."""
    return os.environ.get(TIME_ZONE_VARIABLE) or "UTC"

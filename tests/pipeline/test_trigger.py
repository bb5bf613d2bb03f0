"""Cron expressions and intervals become triggers that KFP reads in the same way."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import pytest

from pipeline.trigger import (
    cron_trigger,
    describe_trigger,
    interval_trigger,
    missed_start,
    server_zone,
)
from qc_core.errors import UsageError


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        # KFP's first field is the second.
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("30 0 3 * * 1", "30 0 3 * * 1"),
        ("*/15 8-18/2 1,15 jan-Mar ?", "0 */15 8-18/2 1,15 jan-Mar ?"),
        ("5/10 * * * MON,fri", "0 5/10 * * * MON,fri"),
        ("  0   3 * *   6 ", "0 0 3 * * 6"),
        # With a day and a weekday, either one matches.
        pytest.param(
            "0 3 31 2 1",
            "0 0 3 31 2 1",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 11), reason="needs cronsim 2.8, which needs Python 3.11"
            ),
        ),
        ("0 3 29 2 *", "0 0 3 29 2 *"),
    ],
)
def test_cron_expression_is_sent_with_six_fields(given: str, sent: str) -> None:
    assert cron_trigger(given).cron_schedule.cron == sent


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0 3 * *", "Wrong number of fields"),
        ("@daily", "Wrong number of fields"),
        ("0 0 3 * * 1 2027", "Wrong number of fields"),
        ("TZ=Europe/Berlin 0 0 3 * * 1", "Wrong number of fields"),
        ("60 3 * * 1", "Bad minute"),
        ("0 24 * * 1", "Bad hour"),
        ("0 3 0 * *", "Bad day-of-month"),
        ("0 3 * 13 *", "Bad month"),
        # In KFP, Sunday is only 0.
        ("0 3 * * 7", "weekday 7"),
        ("0 3 * * moon", "Bad day-of-week"),
        ("0 5-3 * * *", "Bad hour"),
        ("*/0 * * * *", "Bad minute"),
        ("1- * * * *", "Bad minute"),
        (", * * * *", "Bad minute"),
        ("0 3 L * *", "KFP does not support L"),
        ("0 3 LW * *", "KFP does not support L"),
        ("0 3 * * 5L", "KFP does not support L"),
        ("0 3 * * MON#2", "KFP does not support L, #"),
        ("²0 3 * * *", "Bad character"),
        ("0 3 31 2,4,6 *", "Bad day-of-month"),
    ],
)
def test_cron_expression_that_kfp_cannot_read_is_refused(given: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        cron_trigger(given)


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", "90"), ("90m", "5400"), ("12h", "43200"), ("7d", "604800")]
)
def test_interval_is_sent_in_seconds(given: str, seconds: str) -> None:
    trigger = interval_trigger(given)
    assert trigger.periodic_schedule.interval_second == seconds
    assert describe_trigger(trigger) == f"every {given}"


@pytest.mark.parametrize("given", ["12", "0h", "-1h", "1.5h", "1w", "h", "", "²h"])
def test_invalid_interval_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="such as 12h"):
        interval_trigger(given)


def test_time_zone_of_the_server_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_zone() == "UTC"
    monkeypatch.setenv("KFP_TIME_ZONE", "Europe/Berlin")
    assert server_zone() == "Europe/Berlin"


def test_trigger_made_in_the_ui_is_described() -> None:
    assert describe_trigger(None) == "never"
    assert describe_trigger(interval_trigger("86400s")) == "every 1d"
    assert describe_trigger(cron_trigger("0 3 * * 1")) == "cron 0 3 * * 1"
    assert describe_trigger(cron_trigger("30 0 3 * * 1")) == "cron 30 0 3 * * 1"


@pytest.mark.parametrize(
    ("trigger", "since", "expected"),
    [
        (cron_trigger("0 3 * * 1"), "2026-11-23T03:00:05", None),
        (cron_trigger("0 3 * * 1"), "2026-11-16T03:00:05", "2026-11-23T03:00:00"),
        (interval_trigger("12h"), "2026-11-27T10:00:00", "2026-11-27T22:00:00"),
        (interval_trigger("7d"), "2026-11-27T10:00:00", None),
        (None, "2026-11-27T10:00:00", None),
    ],
)
def test_first_missed_start_is_found(trigger: Any, since: str, expected: str | None) -> None:
    def utc(text: str) -> datetime:
        return datetime.fromisoformat(f"{text}+00:00")

    found = missed_start(trigger, utc(since), utc("2026-11-28T12:00:00"))
    assert found == (utc(expected) if expected else None)

"""When a recurring run starts, as people write it and as KFP reads it."""

import pytest

from pipeline.trigger import cron_trigger, describe_trigger, interval_trigger
from qc_core.errors import UsageError


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        # KFP counts the second first.
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("30 0 3 * * 1", "30 0 3 * * 1"),
        ("*/15 8-18/2 1,15 jan-Mar ?", "0 */15 8-18/2 1,15 jan-Mar ?"),
        ("5/10 * * * MON,fri", "0 5/10 * * * MON,fri"),
        ("  0   3 * *   6 ", "0 0 3 * * 6"),
        # Either day will do, so it comes true.
        ("0 3 31 2 1", "0 0 3 31 2 1"),
        ("0 3 29 2 *", "0 0 3 29 2 *"),
    ],
)
def test_cron_has_the_fields_that_people_know(given: str, sent: str) -> None:
    assert cron_trigger(given, None).cron_schedule.cron == sent


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0 3 * *", "five fields"),
        ("@daily", "five fields"),
        ("0 0 3 * * 1 2027", "five fields"),
        ("TZ=Europe/Berlin 0 0 3 * * 1", "five fields"),
        ("60 3 * * 1", "minute takes 0 to 59"),
        ("0 24 * * 1", "hour takes 0 to 23"),
        ("0 3 0 * *", "day of month takes 1 to 31"),
        ("0 3 * 13 *", "month takes 1 to 12"),
        # KFP's Sunday is 0 alone.
        ("0 3 * * 7", "day of week takes 0 to 6"),
        ("0 3 * * moon", "day of week takes 0 to 6"),
        ("0 5-3 * * *", "hour takes"),
        ("*/0 * * * *", "minute takes"),
        ("1- * * * *", "minute takes"),
        (", * * * *", "minute takes"),
        ("0 3 L * *", "day of month takes"),
        ("²0 3 * * *", "minute takes"),
        ("0 3 31 2,4,6 *", "never comes true"),
    ],
)
def test_cron_that_kfp_would_misread_or_refuse_is_refused_here(given: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        cron_trigger(given, None)


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", "90"), ("90m", "5400"), ("12h", "43200"), ("7d", "604800")]
)
def test_an_interval_becomes_seconds(given: str, seconds: str) -> None:
    trigger = interval_trigger(given)
    assert trigger.periodic_schedule.interval_second == seconds
    assert describe_trigger(trigger) == f"every {given}"


@pytest.mark.parametrize("given", ["12", "0h", "-1h", "1.5h", "1w", "h", "", "²h"])
def test_what_is_no_interval_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="such as 12h"):
        interval_trigger(given)


def test_a_zone_is_taken_where_kfp_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cron_trigger("0 3 * * 1", "UTC")
    monkeypatch.setenv("KFP_TIME_ZONE", "Europe/Berlin")
    assert cron_trigger("0 3 * * 1", "Europe/Berlin")
    # Another name for the same clock.
    assert cron_trigger("0 3 * * 1", "Europe/Stockholm")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/London", "Asia/Tokyo"])
def test_a_zone_that_kfp_does_not_schedule_in_is_refused(zone: str) -> None:
    # London's clock is UTC's in winter only.
    with pytest.raises(UsageError, match=f"here UTC, got --time-zone {zone}"):
        cron_trigger("0 3 * * 1", zone)


@pytest.mark.parametrize("zone", ["Europe/Berlim", "../etc/passwd", "", "GMT+1"])
def test_what_is_no_zone_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    with pytest.raises(UsageError, match=r"--time-zone is a name such as Europe/Berlin"):
        cron_trigger("0 3 * * 1", zone)
    if zone:
        monkeypatch.setenv("KFP_TIME_ZONE", zone)
        with pytest.raises(UsageError, match="KFP_TIME_ZONE is a name"):
            cron_trigger("0 3 * * 1", None)


def test_a_trigger_that_somebody_made_in_the_ui_is_described() -> None:
    assert describe_trigger(None) == "never"
    assert describe_trigger(interval_trigger("86400s")) == "every 1d"
    assert describe_trigger(cron_trigger("0 3 * * 1", None)) == "cron 0 3 * * 1"
    assert describe_trigger(cron_trigger("30 0 3 * * 1", None)) == "cron 30 0 3 * * 1"

"""`qc schedule` creates, finds by name, replaces, pauses and deletes recurring runs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.package import Package, compile_package
from pipeline.schedule import make_schedule
from pipeline.server import connect
from pipeline.trigger import interval_trigger
from qc_core.cli.main import main
from qc_core.errors import RunError
from tests.pipeline.kfp_server import KFP, answer, drop

WEEKLY = ["schedule", "create", "smoke", "--seed", "3", "--cron", "0 3 * * 1"]
CREATE = ("POST", "/recurringruns$")


@pytest.fixture(scope="module")
def package() -> Package:
    return compile_package("smoke", ["--seed", "3"])


@pytest.fixture
def make(kfp: KFP, package: Package) -> Callable[..., Any]:
    """Creates a schedule without the command."""

    def make(name: str = "nightly", interval: str = "12h", pin: bool = False) -> Any:
        with connect() as server:
            return make_schedule(
                server,
                package,
                interval_trigger(interval),
                name=name,
                experiment="q-chunking",
                service_account="q-chunking-runner",
                pin=pin,
            )

    return make


def test_schedule_uses_the_latest_version_and_all_parameters(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(WEEKLY) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["display_name"] == "smoke" and entry["status"] == "ENABLED"
    assert entry["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert entry["max_concurrency"] == "1" and entry["no_catchup"] is True
    assert entry["service_account"] == "q-chunking-runner"
    assert entry["runtime_config"]["parameters"] == {"recipe": "smoke", "overrides": "--seed 3"}
    assert entry["pipeline_version_reference"].keys() == {"pipeline_id"}
    assert entry["experiment_id"] in kfp.experiments
    (version,) = kfp.names(kfp.versions)
    assert capsys.readouterr().out == (
        f"schedule smoke: cron 0 3 * * 1 (UTC), the latest version, now {version}\n"
    )


def test_pinned_schedule_uses_its_own_version(kfp: KFP, make: Callable[..., Any]) -> None:
    schedule, runs_now = make(pin=True)
    (entry,) = kfp.recurring_runs.values()
    assert entry["pipeline_version_reference"]["pipeline_version_id"] in kfp.versions
    assert [schedule.version] == [runs_now] == kfp.names(kfp.versions)


def test_the_old_form_without_create_still_works(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "--seed", "3", "smoke", "--cron", "0 3 * * 1"]) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["runtime_config"]["parameters"] == {"recipe": "smoke", "overrides": "--seed 3"}
    assert "is now `qc schedule create RECIPE`" in capsys.readouterr().err


def test_package_older_than_the_latest_version_is_noted(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("3", "4"):
        assert main(["submit", "smoke", "--seed", seed]) == 0
    older, latest = kfp.names(kfp.versions)
    capsys.readouterr()
    assert main(WEEKLY) == 0
    said, note = capsys.readouterr().out.splitlines()
    assert latest in said and f"that is not {older}" in note


def test_replacing_a_schedule_never_has_two_active(kfp: KFP, make: Callable[..., Any]) -> None:
    make(interval="12h")
    (old,) = kfp.recurring_runs
    kfp.requests.clear()
    make(interval="6h")
    (entry,) = kfp.recurring_runs.values()
    assert entry["trigger"]["periodic_schedule"]["interval_second"] == "21600"
    changes = [
        r.rpartition("/")[2] for r in kfp.requests if "/recurringruns" in r and "GET" not in r
    ]
    assert changes == [f"{old}:disable", "recurringruns", old]


def test_schedules_of_other_pipelines_are_not_changed(kfp: KFP, make: Callable[..., Any]) -> None:
    make()
    (entry,) = kfp.recurring_runs.values()
    foreign = {"pipeline_id": "1" * 36}
    other = {**entry, "recurring_run_id": "0" * 36, "pipeline_version_reference": foreign}
    kfp.recurring_runs["0" * 36] = other
    make()
    assert other in kfp.recurring_runs.values() and other["status"] == "ENABLED"
    assert main(["schedule", "delete", "nightly"]) == 0
    assert list(kfp.recurring_runs) == ["0" * 36]


def test_failed_replacement_leaves_the_old_schedule_active(
    kfp: KFP, make: Callable[..., Any]
) -> None:
    make()
    (old,) = kfp.recurring_runs.values()
    kfp.fail(*CREATE, answer(500, '{"code": 13, "message": "no database", "details": []}'))
    with pytest.raises(RunError, match="no database"):
        make()
    assert list(kfp.recurring_runs.values()) == [old] and old["status"] == "ENABLED"


def test_failed_replacement_leaves_a_paused_schedule_paused(
    kfp: KFP, make: Callable[..., Any]
) -> None:
    make()
    (old,) = kfp.recurring_runs.values()
    assert main(["schedule", "pause", "nightly"]) == 0
    kfp.fail(*CREATE, answer(500, "{}"))
    with pytest.raises(RunError):
        make()
    assert old["status"] == "DISABLED"


def test_replacement_with_a_lost_answer_is_found(kfp: KFP, make: Callable[..., Any]) -> None:
    make(interval="12h")
    kfp.fail(*CREATE, None)
    assert make(interval="6h")[0].when == "every 6h"
    (entry,) = kfp.recurring_runs.values()
    assert entry["trigger"]["periodic_schedule"]["interval_second"] == "21600"


def test_server_that_fails_during_a_replacement_is_one_line_with_a_remedy(
    kfp: KFP, make: Callable[..., Any]
) -> None:
    make()
    kfp.fail(*CREATE, drop)
    kfp.fail("POST", ":enable$", drop)
    with pytest.raises(RunError, match="`qc schedule resume nightly` resumes it"):
        make()
    (old,) = kfp.recurring_runs.values()
    assert old["status"] == "DISABLED"
    assert main(["schedule", "resume", "nightly"]) == 0
    assert old["status"] == "ENABLED"


def test_old_schedule_that_cannot_be_deleted_stays_paused(
    kfp: KFP, make: Callable[..., Any]
) -> None:
    make()
    (old,) = kfp.recurring_runs
    kfp.fail("DELETE", "/recurringruns/", drop)
    with pytest.raises(RunError, match=f"delete recurring run {old} there"):
        make()
    states = {key: entry["status"] for key, entry in kfp.recurring_runs.items()}
    assert states.pop(old) == "DISABLED" and list(states.values()) == ["ENABLED"]


def test_schedules_of_all_pages_are_listed(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c", "a", "b"):
        make(name, pin=name == "c")
    assert main(["schedule", "pause", "a"]) == 0
    capsys.readouterr()
    assert main(["schedule", "list", "--json"]) == 0
    (version,) = kfp.names(kfp.versions)
    found = json.loads(capsys.readouterr().out)
    assert [(s["name"], s["paused"], s["version"]) for s in found] == [
        ("a", True, None),
        ("b", False, None),
        ("c", False, version),
    ]
    assert main(["schedule", "list"]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["schedule", "when", "(UTC)", "state", "version"]
    assert first.split() == ["a", "every", "12h", "paused", "latest"]


def test_empty_list_shows_how_to_create_a_schedule(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "list"]) == 0
    assert "no schedules: create one with qc schedule create RECIPE" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["pause", "resume", "delete"])
def test_unknown_schedule_is_a_usage_error(
    kfp: KFP, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert main(["schedule", word, "nightly"]) == 2
    assert "there is no schedule nightly" in capsys.readouterr().err


def test_multi_user_server_has_schedules_in_a_namespace(kfp: KFP) -> None:
    kfp.multi_user = True
    assert main([*WEEKLY, "--namespace", "anna"]) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["namespace"] == "anna"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["create", "smoke"], "give either --cron or --every"),
        (["create", "smoke", "--cron", "0 3 * * 1", "--every", "1h"], "give either --cron or"),
        (["create", "smoke", "--cron", "0 3 * * 1", "--time-zone", "UTC"], "was removed"),
        (["create", "smoke", "other", "--every", "1h"], "unknown option other"),
        (["create", "nosuch", "--every", "1h"], "nosuch"),
        (["pause"], "qc schedule pause: the following arguments are required: name"),
        (["list", "nightly"], "unknown option nightly"),
        (["delete", "nightly", "--seed", "3"], "unknown option --seed"),
        ([], "required: SUBCOMMAND"),
    ],
)
def test_wrong_arguments_are_refused_before_any_server_is_asked(
    kfp: KFP, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["schedule", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not kfp.requests

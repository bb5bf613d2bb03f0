"""`qc schedule` creates, finds by name, replaces, pauses and deletes recurring runs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.package import Package, compile_package
from pipeline.schedule import make_schedule
from pipeline.server import connect
from pipeline.trigger import interval_trigger
from pipeline.versions import UNRELEASED
from qc_core.cli.main import main
from qc_core.config.resources import training_memory
from qc_core.errors import RunError
from tests.pipeline.kfp_server import KFP, answer, drop

WEEKLY = ["schedule", "create", "smoke", "--seed", "3", "--cron", "0 3 * * 1"]
CREATE = ("POST", "/recurringruns$")
GIVEN = {
    "recipe": "smoke",
    "recipe_method": "as the recipe says",
    "recipe_overrides": "--seed 3",
    "resources_memory": training_memory("smoke", "2"),
}


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


def test_first_schedule_releases_its_version_and_uses_the_newest_one(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(WEEKLY) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["display_name"] == "smoke" and entry["status"] == "ENABLED"
    assert entry["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert entry["max_concurrency"] == "1" and entry["no_catchup"] is True
    assert entry["service_account"] == "q-chunking-runner"
    assert entry["runtime_config"]["parameters"] == GIVEN
    assert entry["pipeline_version_reference"].keys() == {"pipeline_id"}
    assert entry["description"] == (
        "recipe smoke; overrides --seed 3; always the newest released version; "
        "change it with qc schedule"
    )
    assert entry["experiment_id"] in kfp.experiments
    (version,) = kfp.names(kfp.versions)
    assert capsys.readouterr().out == (
        f"schedule smoke: cron 0 3 * * 1 (UTC), the released version, now {version}\n"
    )


def test_pinned_schedule_uses_its_own_version(kfp: KFP, make: Callable[..., Any]) -> None:
    schedule, runs_now, _ = make(pin=True)
    (entry,) = kfp.recurring_runs.values()
    assert entry["pipeline_version_reference"]["pipeline_version_id"] in kfp.versions
    assert [schedule.version] == [runs_now.display_name] == kfp.names(kfp.versions)
    assert kfp.names(kfp.pipelines) == [UNRELEASED]
    assert len(entry["runtime_config"]["parameters"]) > 5
    assert "sha256:" in entry["description"]


def test_the_old_form_without_create_still_works(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "--seed", "3", "smoke", "--cron", "0 3 * * 1"]) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["runtime_config"]["parameters"] == GIVEN
    assert "is now `qc schedule create RECIPE`" in capsys.readouterr().err


def test_schedule_runs_the_released_version_and_not_that_of_its_creator(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    (released,) = kfp.names(kfp.versions)
    assert main([*WEEKLY, "--store-secret", "mine"]) == 0
    said, note = capsys.readouterr().out.splitlines()
    assert released in said and "`qc release` releases it, --pin runs it" in note
    assert kfp.names(kfp.versions) == [released]


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
    kfp: KFP, impatient: None, make: Callable[..., Any]
) -> None:
    make()
    kfp.fail(*CREATE, drop)
    kfp.fail("POST", ":enable$", drop)
    with pytest.raises(RunError, match="`qc schedule resume nightly` resumes it"):
        make()
    (old,) = kfp.recurring_runs.values()
    assert old["status"] == "DISABLED"
    assert main(["schedule", "resume", "nightly"]) == 0
    (entry,) = kfp.recurring_runs.values()
    assert entry["status"] == "ENABLED"


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


def active_run(kfp: KFP, state: str = "RUNNING") -> dict[str, Any]:
    """A run that the newest schedule has started."""
    (*_, entry) = kfp.recurring_runs.values()
    assert main(["submit", "smoke"]) == 0
    (*_, run) = kfp.runs.values()
    run |= {"recurring_run_id": entry["recurring_run_id"], "state": state}
    return run


def test_replacing_a_schedule_lets_its_active_run_continue(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    (old,) = kfp.recurring_runs
    run = active_run(kfp)
    assert main([*WEEKLY, "--name", "nightly"]) == 0
    assert f"run {run['run_id']} of the replaced schedule continues" in capsys.readouterr().out
    assert kfp.recurring_runs[old]["status"] == "DISABLED" and len(kfp.recurring_runs) == 2
    assert main(["schedule", "list"]) == 0
    assert "replaced, its last run" in capsys.readouterr().out
    # The next command removes it, once the run has ended.
    run["state"] = "SUCCEEDED"
    make()
    assert old not in kfp.recurring_runs and len(kfp.recurring_runs) == 1


def test_schedule_with_an_active_run_is_not_deleted(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    (entry,) = kfp.recurring_runs.values()
    run = active_run(kfp)
    assert main(["schedule", "delete", "nightly"]) == 2
    assert f"has an active run, {kfp.url}/#/runs/details/{run['run_id']}" in capsys.readouterr().err
    assert entry["status"] == "ENABLED" and run["state"] == "RUNNING"


def test_deleting_a_schedule_now_ends_its_active_run_first(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    run = active_run(kfp)
    kfp.script = [{}, {"state": "FAILED"}]
    assert main(["schedule", "delete", "nightly", "--now"]) == 0
    assert f"its active run {run['run_id']} was ended" in capsys.readouterr().out
    assert not kfp.recurring_runs and run["state"] == "FAILED"


def test_runs_of_other_schedules_do_not_count(kfp: KFP, make: Callable[..., Any]) -> None:
    make("other")
    active_run(kfp)
    make()
    assert main(["schedule", "delete", "nightly"]) == 0


def test_start_that_was_missed_during_a_pause_is_reported_and_not_made_up(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make(pin=True)
    (old,) = list(kfp.recurring_runs.values())
    assert main(["schedule", "pause", "nightly"]) == 0
    capsys.readouterr()
    assert main(["schedule", "resume", "nightly"]) == 0
    assert "was missed and is not made up" in capsys.readouterr().out
    # KFP starts a missed run of a resumed recurring run at once; a new one has missed none.
    (new,) = kfp.recurring_runs.values()
    assert new["recurring_run_id"] != old["recurring_run_id"] and new["status"] == "ENABLED"
    ids = ("recurring_run_id", "created_at", "status", "mode")
    assert {k: v for k, v in new.items() if k not in ids} == {
        k: v for k, v in old.items() if k not in ids
    }


def test_start_that_was_missed_is_made_up_on_request(kfp: KFP, make: Callable[..., Any]) -> None:
    make()
    (entry,) = kfp.recurring_runs.values()
    assert main(["schedule", "pause", "nightly"]) == 0
    assert main(["schedule", "resume", "nightly", "--make-up"]) == 0
    assert list(kfp.recurring_runs.values()) == [entry] and entry["status"] == "ENABLED"


def test_schedule_that_is_pinned_to_a_deleted_version_is_listed(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make(pin=True)
    (version,) = kfp.versions
    kfp.versions.clear()
    assert main(["schedule", "list"]) == 0
    assert f"deleted ({version})" in capsys.readouterr().out


def test_schedules_of_all_pages_are_listed(
    kfp: KFP, make: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c", "a", "b"):
        make(name, pin=name == "c")
    assert main(["schedule", "pause", "a"]) == 0
    capsys.readouterr()
    assert main(["schedule", "list", "--json"]) == 0
    # The first is of the pinned schedule; the second is released.
    version, _ = kfp.names(kfp.versions)
    found = json.loads(capsys.readouterr().out)
    assert [(s["name"], s["paused"], s["version"]) for s in found] == [
        ("a", True, None),
        ("b", False, None),
        ("c", False, version),
    ]
    assert main(["schedule", "list"]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["schedule", "when", "(UTC)", "state", "version"]
    assert first.split() == ["a", "every", "12h", "paused", "released"]


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

"""`qc schedule`: recurring runs on a KFP server."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from typing import Any

from pipeline.cli.plan import check_plan, claims_of
from pipeline.cli.server import (
    cluster_of,
    run_arguments,
    server_arguments,
    with_upload,
)
from qc_core.cli.arguments import json_argument, recipe_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError

_CREATE_HELP = """create a schedule, or replace the one of the same name

A run starts only after the previous run has ended. Missed runs are not started later. If the
schedule that it replaces has an active run, that run continues."""


def arguments(parser: Parser) -> None:
    _create_arguments(parser.add_subcommand("create", "create or replace a schedule", create))
    others = [parser.add_subcommand("list", "list all schedules", list_all)]
    for name, description, run in (
        ("pause", "stop starting runs until `resume`", pause),
        ("resume", "start runs again", resume),
        ("delete", "delete a schedule", delete),
    ):
        others.append(parser.add_subcommand(name, description, run))
        others[-1].add_argument("name", help="name of the schedule")
        if name == "resume":
            others[-1].add_argument(
                "--make-up", action="store_true", help="start a run that was missed, at once"
            )
        if name == "delete":
            others[-1].add_argument(
                "--now", action="store_true", help="end its active run first, instead of refusing"
            )
    for subcommand in others:
        server_arguments(subcommand)
        json_argument(subcommand)


def _create_arguments(parser: Parser) -> None:
    parser.description = _CREATE_HELP
    recipe_argument(parser)
    parser.add_argument(
        "--cron",
        metavar="FIELDS",
        help=(
            "minute hour day month weekday (0 is Sunday), in the server's time zone, "
            "$KFP_TIME_ZONE; six fields begin with the second"
        ),
    )
    parser.add_argument("--every", metavar="TIME", help="an interval: 90m, 12h, 7d")
    parser.add_argument("--name", help="name of the schedule (default: name of the policy)")
    parser.add_argument(
        "--pin",
        action="store_true",
        help="always run this version, not the newest released one",
    )
    run_arguments(parser)
    server_arguments(parser)
    json_argument(parser)


def create(options: Namespace) -> None:
    """Upload the pipeline if necessary, and create or replace a schedule that runs it."""
    from pipeline.package import compile_package
    from pipeline.schedule import make_schedule
    from pipeline.server import connect
    from pipeline.trigger import cron_trigger, interval_trigger, server_zone
    from pipeline.versions import is_version_of
    from qc_core.config.resolve import expand, resolve

    if (options.cron is None) == (options.every is None):
        raise UsageError("qc schedule create: give either --cron or --every")
    trigger = (
        interval_trigger(options.every) if options.every is not None else cron_trigger(options.cron)
    )
    recipe, overrides = expand(options.recipe, with_upload(options))
    config = resolve(recipe, overrides)
    claims = claims_of(config)
    if claims and not options.pin:
        raise UsageError(
            f"a schedule on the volume claim {claims[0]} needs --pin: the released version may "
            "not mount it"
        )
    check_plan(config)
    cluster = cluster_of(options, claims)
    package = compile_package(recipe, overrides, inputs=options.input, cluster=cluster)
    with connect(options.endpoint, options.namespace) as server:
        schedule, version, active = make_schedule(
            server,
            package,
            trigger,
            name=options.name or config.policy_name,
            experiment=options.experiment,
            service_account=options.service_account,
            pin=options.pin,
        )
    runs_now = version.display_name
    if options.json:
        runs = [run.run_id for run in active]
        print_json({**_as_dict(schedule), "runs-now": runs_now, "active-runs-of-replaced": runs})
        return
    zone = f" ({server_zone()})" if options.cron is not None else ""
    runs = f"always version {runs_now}" if options.pin else f"the released version, now {runs_now}"
    print(f"schedule {schedule.name}: {schedule.when}{zone}, {runs}")
    if not is_version_of(version, package):
        print("note: this machine has another version: `qc release` releases it, --pin runs it")
    for run in active:
        print(
            f"note: run {run.run_id} of the replaced schedule continues; that schedule is paused, "
            f"and the next `qc schedule create` or `delete` of {schedule.name} removes it"
        )


def list_all(options: Namespace) -> None:
    """Print every schedule of this pipeline."""
    from pipeline.schedule import list_schedules
    from pipeline.server import connect
    from pipeline.trigger import server_zone

    with connect(options.endpoint, options.namespace) as server:
        schedules = list_schedules(server)
    if options.json:
        print_json([_as_dict(schedule) for schedule in schedules])
    elif not schedules:
        print('no schedules: create one with qc schedule create RECIPE --cron "0 3 * * 1"')
    else:
        print_table(
            ("schedule", f"when ({server_zone()})", "state", "version"),
            [(s.name, s.when, _state(s), s.version or "released") for s in schedules],
        )
        for schedule in schedules:
            if schedule.refused:
                print(
                    f"note: {schedule.name} cannot start, because the released version does not "
                    f"accept {', '.join(schedule.refused)}: qc release, or create it again"
                )


def pause(options: Namespace) -> None:
    from pipeline.schedule import pause_schedule
    from pipeline.server import connect

    with connect(options.endpoint, options.namespace) as server:
        pause_schedule(server, options.name)
    _show(options, "paused")


def resume(options: Namespace) -> None:
    from pipeline.schedule import resume_schedule
    from pipeline.server import connect

    with connect(options.endpoint, options.namespace) as server:
        missed = resume_schedule(server, options.name, make_up=options.make_up)
    _show(options, "active", {"missed": missed.isoformat() if missed else None})
    if missed and not options.json:
        what = "is started now" if options.make_up else "is not made up; qc submit starts a run"
        print(f"note: the start of {missed:%Y-%m-%d %H:%M} was missed and {what}")


def delete(options: Namespace) -> None:
    from pipeline.schedule import delete_schedule
    from pipeline.server import connect

    with connect(options.endpoint, options.namespace) as server:
        ended = delete_schedule(server, options.name, now=options.now)
    _show(options, "deleted", {"ended-runs": ended})
    if ended and not options.json:
        print(f"note: its active run {', '.join(ended)} was ended")


def _show(options: Namespace, state: str, more: dict[str, Any] | None = None) -> None:
    if options.json:
        print_json({"name": options.name, "state": state, **(more or {})})
    else:
        print(f"schedule {options.name}: {state}")


def _state(schedule: Any) -> str:
    if schedule.replaced:
        return "replaced, its last run is active or has just ended"
    return "paused" if schedule.paused else "active"


def _as_dict(schedule: Any) -> dict[str, Any]:
    return dataclasses.asdict(schedule)

"""`qc schedule`: recurring runs on a KFP server."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from pipeline.cli.submit import run_arguments, server_arguments
from qc_core.cli.output import print_json, print_table
from qc_core.errors import UsageError

_USAGE = """qc schedule RECIPE (--cron "0 3 * * 1" | --every 12h) [options]
       qc schedule list
       qc schedule (pause | resume | delete) NAME"""
_EPILOG = """A schedule of the same name is replaced. A run never starts while the one before it
goes on, and a start that was missed is not made up for. The words list, pause, resume and delete
are never taken for a recipe."""
_WITH_NAME = ("pause", "resume", "delete")


def arguments(parser: ArgumentParser) -> None:
    parser.usage = _USAGE
    parser.epilog = _EPILOG
    parser.add_argument("what", metavar="RECIPE", help="a name from `qc recipes`, or a YAML file")
    parser.add_argument("target", nargs="?", metavar="NAME", help="the schedule, for those words")
    parser.add_argument(
        "--cron",
        metavar="FIELDS",
        help="minute hour day month weekday (0 is Sunday); six fields begin with the second",
    )
    parser.add_argument("--every", metavar="TIME", help="an interval: 90m, 12h, 7d")
    parser.add_argument(
        "--time-zone",
        metavar="ZONE",
        help="what --cron means; must be KFP's own, $KFP_TIME_ZONE (default: UTC)",
    )
    parser.add_argument("--name", help="of the schedule (default: the policy's)")
    parser.add_argument(
        "--pin",
        action="store_true",
        help="always run the version that this makes, not the latest one on the server",
    )
    run_arguments(parser)
    server_arguments(parser)


def run(options: Namespace, overrides: Sequence[str]) -> None:
    """Do what the first word says; any other word is a recipe to schedule."""
    word, target = options.what, options.target
    if word == "list" or word in _WITH_NAME:
        if overrides or options.cron or options.every or options.name or options.pin:
            raise UsageError(f"qc schedule {word} takes no options of a schedule or a recipe")
        if (target is None) != (word == "list"):
            raise UsageError(f"usage: qc schedule {word}{'' if word == 'list' else ' NAME'}")
        _list(options) if word == "list" else _change(options)
    else:
        if target is not None:
            raise UsageError(f"qc schedule takes one recipe, got {word} and {target}")
        if (options.cron is None) == (options.every is None):
            raise UsageError("qc schedule: when? give either --cron or --every")
        if options.every is not None and options.time_zone is not None:
            raise UsageError("qc schedule: --time-zone is for --cron; --every knows no zone")
        _make(options, overrides)


def _make(options: Namespace, overrides: Sequence[str]) -> None:
    from pipeline.package import compile_package
    from pipeline.schedule import make_schedule
    from pipeline.server import connect
    from pipeline.trigger import cron_trigger, interval_trigger, server_zone
    from qc_core.config.resolve import expand, resolve

    trigger = (
        interval_trigger(options.every) if options.every is not None else cron_trigger(options.cron)
    )
    config = resolve(options.what, overrides)
    recipe, words = expand(options.what, overrides)
    package = compile_package(recipe, words, inputs=options.input)
    with connect(options.endpoint, options.namespace) as server:
        schedule, version = make_schedule(
            server,
            package,
            trigger,
            name=options.name or config.policy_name,
            experiment=options.experiment,
            service_account=options.service_account,
            pin=options.pin,
        )
    if options.json:
        print_json({**_as_dict(schedule), "runs-now": version})
        return
    zone = f" ({server_zone()})" if options.cron is not None else ""
    runs = f"always version {version}" if options.pin else f"the latest version, now {version}"
    print(f"schedule {schedule.name}: {schedule.when}{zone}, {runs}")
    if version != package.version:
        print(f"note: that is not {package.version}, which this command made; --pin would run it")


def _list(options: Namespace) -> None:
    from pipeline.schedule import list_schedules
    from pipeline.server import connect
    from pipeline.trigger import server_zone

    with connect(options.endpoint, options.namespace) as server:
        schedules = list_schedules(server)
    if options.json:
        print_json([_as_dict(schedule) for schedule in schedules])
    elif not schedules:
        print('no schedules: qc schedule RECIPE --cron "0 3 * * 1" makes one')
    else:
        print_table(
            ("schedule", f"when ({server_zone()})", "state", "version"),
            [
                (s.name, s.when, "paused" if s.paused else "active", s.version or "latest")
                for s in schedules
            ],
        )


def _change(options: Namespace) -> None:
    from pipeline import schedule
    from pipeline.server import connect

    change, done = {
        "pause": (schedule.pause_schedule, "paused"),
        "resume": (schedule.resume_schedule, "active"),
        "delete": (schedule.delete_schedule, "deleted"),
    }[options.what]
    with connect(options.endpoint, options.namespace) as server:
        change(server, options.target)
    if options.json:
        print_json({"name": options.target, "state": done})
    else:
        print(f"schedule {options.target}: {done}")


def _as_dict(schedule: Any) -> dict[str, Any]:
    return dataclasses.asdict(schedule)

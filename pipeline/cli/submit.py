"""`qc submit`: start a run on a KFP server."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from functools import partial

from pipeline.cli.plan import check_plan
from pipeline.cli.server import run_arguments, secrets_of, server_arguments
from qc_core.cli.arguments import json_argument, recipe_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser

# 128 + SIGINT, as shells report it.
_INTERRUPTED = 130


def arguments(parser: Parser) -> None:
    recipe_argument(parser)
    parser.add_argument(
        "--run-name",
        metavar="NAME",
        help="name of the run in KFP (default: name of the policy, and the time)",
    )
    run_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the run to its end; exit with 0 if it succeeds, else 1",
    )
    server_arguments(parser)
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Start a run and print its id, version and page; --wait follows it."""
    from pipeline.follow import follow
    from pipeline.package import compile_package
    from pipeline.server import connect
    from pipeline.submit import submit
    from qc_core.config.resolve import expand, resolve

    recipe, overrides = expand(options.recipe, options.overrides)
    config = resolve(recipe, overrides)
    check_plan(config)
    name = options.run_name or f"{config.policy_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    package = compile_package(recipe, overrides, inputs=options.input, secrets=secrets_of(options))
    connect_again = partial(connect, options.endpoint, options.namespace)
    with connect_again() as server:
        started = submit(
            server,
            package,
            experiment=options.experiment,
            name=name,
            service_account=options.service_account,
        )
    if options.json:
        print_json(
            {
                "run": started.id,
                "name": started.name,
                "url": started.page,
                "pipeline-version": started.version,
            }
        )
    else:
        print(f"run      {started.id}\nversion  {started.version}\npage     {started.page}")
    sys.stdout.flush()
    if not options.wait:
        return 0
    try:
        follow(connect_again, started.id, package.steps, _report)
    except KeyboardInterrupt:
        _report(f"stopped following; the run continues: {started.page}")
        return _INTERRUPTED
    _report("the run succeeded")
    return 0


def _report(text: str) -> None:
    """Print progress to stderr; stdout has only the result."""
    print(text, file=sys.stderr, flush=True)

"""`qc submit`: a run on a KFP server."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

from qc_core.cli.output import print_json

_INTERRUPTED = 130
EXPERIMENT = "q-chunking"
SERVICE_ACCOUNT = "q-chunking-runner"


def server_arguments(parser: ArgumentParser) -> None:
    """The options of every command that asks a KFP server."""
    parser.add_argument("--endpoint", metavar="URL", help="KFP server (default: $KFP_ENDPOINT)")
    parser.add_argument(
        "--namespace", metavar="NS", help="whose runs these are, where KFP serves many users"
    )


def run_arguments(parser: ArgumentParser) -> None:
    """The options of every command that has a KFP server start runs."""
    parser.add_argument(
        "--experiment",
        default=EXPERIMENT,
        metavar="NAME",
        help=f"group of runs that it joins ({EXPERIMENT})",
    )
    parser.add_argument(
        "--service-account",
        default=SERVICE_ACCOUNT,
        metavar="NAME",
        help=f"Kubernetes account of its pods ({SERVICE_ACCOUNT})",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input of the pipeline, such as gpus=1; once for each",
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--run-name", metavar="NAME", help="how KFP shows it (default: the policy's, and the time)"
    )
    run_arguments(parser)
    parser.add_argument(
        "--wait", action="store_true", help="follow it to its end, and exit with its result"
    )
    server_arguments(parser)


def run(options: Namespace, overrides: Sequence[str]) -> int:
    """Start a run, print where it is, and follow it if asked to."""
    from pipeline.follow import follow
    from pipeline.package import compile_package
    from pipeline.server import connect
    from pipeline.submit import submit
    from qc_core.config.resolve import expand, resolve

    config = resolve(options.recipe, overrides)
    recipe, words = expand(options.recipe, overrides)
    name = options.run_name or f"{config.policy_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    package = compile_package(recipe, words, inputs=options.input)
    reach = partial(connect, options.endpoint, options.namespace)
    with reach() as server:
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
        follow(reach, started.id, package.steps, _say)
    except KeyboardInterrupt:
        _say(f"no longer followed; the run goes on: {started.page}")
        return _INTERRUPTED
    _say("the run succeeded")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""`qc submit`: start a run on a KFP server."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from functools import partial

from pipeline.cli.plan import check_plan, claims_of
from pipeline.cli.server import (
    cluster_of,
    run_arguments,
    server_arguments,
    with_upload,
)
from qc_core.cli.arguments import json_argument, recipe_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser
from qc_core.errors import QCError, RunError, UsageError
from qc_core.log import is_quiet

# 128 + SIGINT, as shells report it.
_INTERRUPTED = 130


def arguments(parser: Parser) -> None:
    recipe_argument(parser, optional=True)
    parser.add_argument(
        "--continue",
        dest="earlier",
        metavar="RUN",
        help="take over what this run has finished: dataset, pretraining, trials, results. Without "
        "a recipe, its recipe, options and inputs are taken too, where none are given",
    )
    parser.add_argument(
        "--run-name",
        metavar="NAME",
        help="name of the run in KFP (default: recipe, method, seed and time)",
    )
    run_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the run to its end; exit with 0 if it succeeds, else 1",
    )
    parser.add_argument(
        "--logs",
        action="store_true",
        help="with --wait, also show the logs of its steps while they run; needs kubectl",
    )
    server_arguments(parser)
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Start a run and print its id, version and page; --wait follows it."""
    from pipeline.cluster.kubectl import Kubectl
    from pipeline.earlier_run import CONTINUE_INPUT, read_earlier_run
    from pipeline.follow import follow
    from pipeline.package import compile_package
    from pipeline.pod_logs import PodLogs
    from pipeline.server import connect
    from pipeline.submit import submit
    from qc_core.config.options import merged
    from qc_core.config.resolve import expand, resolve

    if options.logs and not options.wait:
        raise UsageError("qc submit: --logs needs --wait")
    if options.recipe is None and options.earlier is None:
        raise UsageError("qc submit: give a recipe, or --continue RUN")
    connect_again = partial(connect, options.endpoint, options.namespace)
    recipe, overrides, inputs = options.recipe, with_upload(options), options.input
    earlier = None
    if recipe is None:
        with connect_again() as server:
            earlier = read_earlier_run(server, options.earlier)
        if earlier.is_active:
            _report(f"run {earlier.id} is {earlier.state}: both runs compute what it has not done")
        recipe, overrides = earlier.recipe, merged(earlier.overrides, overrides)
    elif options.earlier is not None:
        inputs = [*inputs, f"{CONTINUE_INPUT}={options.earlier}"]
    recipe, overrides = expand(recipe, overrides)
    config = resolve(recipe, overrides)
    check_plan(config)
    described = f"{recipe} {config.train.method} seed {config.seed}"
    name = options.run_name or f"{described} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    package = compile_package(
        recipe,
        overrides,
        inputs=inputs,
        earlier=earlier,
        cluster=cluster_of(options, claims_of(config)),
    )
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
                **({"mlflow": started.mlflow} if started.mlflow else {}),
            }
        )
    else:
        print(f"run      {started.id}\nversion  {started.version}\npage     {started.page}")
        if started.mlflow:
            print(f"mlflow   {started.mlflow}")
    sys.stdout.flush()
    if not options.wait:
        return 0
    logs = None
    if options.logs:
        namespace = options.namespace or os.environ.get("KFP_NAMESPACE") or "kubeflow"
        logs = PodLogs(Kubectl(namespace), started.id, _report)
    try:
        ended = follow(
            connect_again,
            started.id,
            package.steps,
            _report,
            logs.update if logs is not None else lambda: None,
        )
    except KeyboardInterrupt:
        _report(f"stopped following; the run continues: {started.page}")
        return _INTERRUPTED
    finally:
        if logs is not None:
            logs.close()
    verdict = _stored_verdict(started.id) or ended.text
    if not ended.succeeded:
        raise RunError(verdict)
    _report(verdict)
    return 0


def _stored_verdict(run_id: str) -> str | None:
    """Return the line that the run's last step wrote, if this machine uses the run's store."""
    from qc_core.notify.run_status import read_status
    from qc_core.store.open import STORE_VARIABLE, open_store

    if not os.environ.get(STORE_VARIABLE, "").startswith("s3://"):
        return None
    try:
        status = read_status(open_store(), run_id)
    except QCError as error:
        _report(f"the result is not read from the store: {error}")
        return None
    return status.text if status is not None else None


def _report(text: str) -> None:
    """Print progress to stderr unless --quiet is given; stdout has only the result."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)

"""`qc release`: make this version of the pipeline the one that schedules run."""

from __future__ import annotations

import dataclasses
from argparse import Namespace

from pipeline.cli.server import cluster_arguments, cluster_of, server_arguments
from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser

_HELP = """release this version of the pipeline on a KFP server

Schedules without --pin run it from their next start on. Nothing else changes what they run: `qc
submit` uploads versions that are not released to another pipeline. To go back, release the older
version again."""


def arguments(parser: Parser) -> None:
    parser.description = _HELP
    cluster_arguments(parser)
    server_arguments(parser)
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Upload the pipeline as the newest released version, and print which schedules run it."""
    from components.image import TRAIN_IMAGE
    from pipeline.compile import DEFAULT_RECIPE
    from pipeline.package import compile_package
    from pipeline.release import release
    from pipeline.server import connect

    package = compile_package(DEFAULT_RECIPE, [], cluster=cluster_of(options))
    with connect(options.endpoint, options.namespace) as server:
        released = release(server, package)
    if options.json:
        print_json({**dataclasses.asdict(released), "image": TRAIN_IMAGE})
        return
    note = "" if released.is_new else ", which was released before"
    print(f"version    {released.version}{note}")
    print(f"image      {TRAIN_IMAGE}")
    print(f"page       {released.page}")
    print(f"schedules  {', '.join(released.schedules) or 'none'}")
    for name in released.renamed:
        print(f"note: schedule {name} was replaced, to send its inputs as this version takes them")

"""`qc compile`: write the package for the KFP UI."""

from __future__ import annotations

from argparse import Namespace

from pipeline.cli.plan import check_plan, claims_of
from pipeline.cli.server import cluster_arguments, cluster_of
from qc_core.cli.arguments import json_argument, output_argument, recipe_argument
from qc_core.cli.output import print_json
from qc_core.cli.parser import Parser
from qc_core.errors import UsageError


def arguments(parser: Parser) -> None:
    recipe_argument(parser, optional=True)
    output_argument(parser, "package to write, a .yaml file")
    cluster_arguments(parser)
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Compile the pipeline; a recipe and its options become the defaults of the form."""
    from pipeline.compile import DEFAULT_RECIPE, compile_pipeline, require_package_place
    from qc_core.config.resolve import expand, resolve

    require_package_place(options.output)
    if options.recipe is None and options.overrides:
        raise UsageError("qc compile: give a recipe with its options")
    name, overrides = expand(options.recipe or DEFAULT_RECIPE, options.overrides)
    config = resolve(name, overrides)
    check_plan(config)
    cluster = cluster_of(options, claims_of(config))
    compile_pipeline(name, overrides, options.output, cluster)
    if options.json:
        print_json({"package": str(options.output), "recipe": options.recipe and name})
    else:
        print(f"wrote {options.output}: upload it in the KFP UI")

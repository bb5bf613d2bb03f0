"""`qc compile`: write the package for the KFP UI."""

from __future__ import annotations

from argparse import Namespace

from pipeline.cli.plan import check_plan, claims_of
from pipeline.cli.server import cluster_arguments, cluster_of
from qc_core.cli.arguments import output_argument, recipe_argument
from qc_core.cli.parser import Parser


def arguments(parser: Parser) -> None:
    recipe_argument(parser)
    output_argument(parser, "package to write, a .yaml file")
    cluster_arguments(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Compile the pipeline with a recipe and its overrides as defaults of its inputs."""
    from pipeline.compile import compile_pipeline, require_package_place
    from qc_core.config.resolve import expand, resolve

    require_package_place(options.output)
    name, overrides = expand(options.recipe, options.overrides)
    config = resolve(name, overrides)
    check_plan(config)
    cluster = cluster_of(options, claims_of(config))
    compile_pipeline(name, overrides, options.output, cluster)
    print(f"wrote {options.output}: upload it in the KFP UI")

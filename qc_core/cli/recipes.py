"""`qc recipes`: the named configurations."""

from __future__ import annotations

from argparse import Namespace

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import print_json, print_table
from qc_core.cli.parser import Parser


def arguments(parser: Parser) -> None:
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print every recipe; JSON includes its configuration."""
    from qc_core.config.catalog import RECIPES
    from qc_core.config.document import to_mapping

    if options.json:
        print_json(
            [
                {
                    "name": name,
                    "description": recipe.description,
                    "config": to_mapping(recipe.config),
                }
                for name, recipe in RECIPES.items()
            ]
        )
        return
    print_table(
        ("recipe", "purpose"),
        [(name, recipe.description) for name, recipe in RECIPES.items()],
    )

"""Arguments that several commands have in common."""

from __future__ import annotations

import os
from pathlib import Path

from qc_core.cli.parser import Parser

POLICY = "a pulled folder, or NAME, NAME@ALIAS, NAME:VERSION"
RECIPE = "a name from `qc recipes`, or a YAML file"


def recipe_argument(parser: Parser, *groups: str, optional: bool = False) -> None:
    """Add the recipe, whose options can then be anywhere among the arguments.

    Args:
        groups: of the options that matter to the command; none for all.
    """
    parser.config_groups = groups
    parser.add_argument("recipe", help=RECIPE, nargs="?" if optional else None)
    parser.takes_config_options = True


def output_argument(parser: Parser, description: str) -> None:
    """Add the required option -o."""
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PATH", help=description
    )


def fresh_argument(parser: Parser) -> None:
    """Add the option --fresh of commands that resume."""
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="delete what an earlier or interrupted command has written, and start over",
    )


def json_argument(parser: Parser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def policy_folder(reference: str) -> Path:
    """Return a policy folder, or the cached folder of a policy of the store.

    Args:
        reference: the path of a folder, or NAME, NAME@ALIAS or NAME:VERSION.
    """
    from qc_core.registry.cache import cached_policy

    return Path(reference) if os.path.exists(reference) else cached_policy(reference)

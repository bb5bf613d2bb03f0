"""Arguments that several commands have in common."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

Overrides = list[str]

RECIPE = "a name from `qc recipes`, or a YAML file"


def recipe(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", help=RECIPE)


def output(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PATH", help=what)


def json_flag(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")

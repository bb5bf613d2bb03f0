"""Write the reference pages that repeat what the code declares: commands and configuration.

`make reference` runs this program; `tests/docs` fails if a page is not current.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qc_core.cli.commands import COMMANDS, load
from qc_core.cli.config_help import GROUP_TITLES, default_text, group_of, help_text, written
from qc_core.cli.examples import EXAMPLES
from qc_core.cli.parser import Parser, Run
from qc_core.config.catalog import RECIPES
from qc_core.config.options import Option, options

PAGES = Path(__file__).parent / "reference"

_NOTE = "<!-- Generated from the code by `make reference`: change the code, not this page. -->"


class RecordingParser(Parser):
    """A parser that remembers its arguments and subcommands."""

    def __init__(self, **settings: Any) -> None:
        self.actions: list[argparse.Action] = []
        self.subcommands: list[RecordingParser] = []
        super().__init__(**settings)

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        action = super().add_argument(*names, **settings)
        self.actions.append(action)
        return action

    def add_subcommand(self, name: str, description: str, run: Run) -> Parser:
        parser = super().add_subcommand(name, description, run)
        assert isinstance(parser, RecordingParser)
        self.subcommands.append(parser)
        return parser


def commands_page() -> str:
    """Return the page of all commands."""
    parts = [
        "# Commands",
        _NOTE,
        "`qc COMMAND --help` prints the same; with a recipe, it shows the recipe's values. Every "
        "command accepts `--debug`, which shows the traceback of an error, and `--quiet`, which "
        "shows only results and errors. Exit codes: 0 success, 1 the work failed, 2 wrong usage, "
        "130 Ctrl-C, 143 SIGTERM, 141 the reader of the output closed it.",
        _table(
            ("command", "what it does"),
            ((f"[`qc {name}`](#qc-{name})", c.description) for name, c in COMMANDS.items()),
        ),
    ]
    for name, command in COMMANDS.items():
        parser = RecordingParser(prog=f"qc {name}", description=command.description)
        load(command.arguments)(parser)
        parts += _command(parser, "##")
    return "\n\n".join(parts) + "\n"


def configuration_page() -> str:
    """Return the page of all options of the configuration, and of all recipes."""
    parts = [
        "# Configuration",
        _NOTE,
        "A run is configured by a recipe and by options that override it. Options have the same "
        "names on the command line (`--train.offline-steps 5000`), in a YAML file (`train: "
        "{offline-steps: 5000}`) and in the field `overrides` of the KFP form. The defaults are "
        "the paper's values. A recipe, or the tuned values of a method, may override them.",
        "## Recipes",
        "`qc recipes` prints their settings.",
        _table(
            ("recipe", "what it is"), ((f"`{name}`", r.description) for name, r in RECIPES.items())
        ),
    ]
    groups: dict[str, list[Option]] = {}
    for option in options().values():
        groups.setdefault(group_of(option), []).append(option)
    for group, found in groups.items():
        parts += [
            f"## {GROUP_TITLES.get(group, group).capitalize()}",
            _table(("option", "default", "meaning"), map(_option_row, found)),
        ]
    return "\n\n".join(parts) + "\n"


def _command(parser: RecordingParser, heading: str) -> Iterator[str]:
    yield f"{heading} {parser.prog}"
    description = (parser.description or "").strip()
    yield description[:1].upper() + description[1:] + ("" if description.endswith(".") else ".")
    actions = [action for action in parser.actions if action.dest != "help"]
    if actions:
        yield _table(("argument", "meaning"), map(_argument_row, actions))
    if examples := EXAMPLES.get(parser.prog.removeprefix("qc ")):
        yield "For example: " + ", ".join(f"`{example}`" for example in examples) + "."
    if parser.takes_config_options:
        yield "It accepts every [configuration option](configuration.md)."
    for subcommand in parser.subcommands:
        yield from _command(subcommand, f"{heading}#")


def _argument_row(action: argparse.Action) -> tuple[str, str]:
    value = str(action.metavar or action.dest.upper())
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        name = f"`{value}`"
    elif action.nargs == 0:
        name = ", ".join(f"`{flag}`" for flag in action.option_strings)
    else:
        name = ", ".join(f"`{flag} {value}`" for flag in action.option_strings)
    required = " (required)" if action.option_strings and action.required else ""
    return name, f"{action.help or ''}{required}"


def _option_row(option: Option) -> tuple[str, str, str]:
    return f"`{written(option)}`", f"`{default_text(option.default)}`", help_text(option)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    PAGES.joinpath("cli.md").write_text(commands_page())
    PAGES.joinpath("configuration.md").write_text(configuration_page())


if __name__ == "__main__":
    main()

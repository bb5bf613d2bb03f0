"""The argument parser of every command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from qc_core.cli.examples import examples_of
from qc_core.errors import UsageError, closest

if TYPE_CHECKING:
    from qc_core.config.settings import Config

Run = Callable[[argparse.Namespace], int | None]


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors, subcommands and options of the configuration.

    Attributes:
        takes_config_options: options of the configuration may be anywhere among the arguments;
            they become the attribute `overrides` of the namespace.
        config_groups: groups of these options that matter to the command, which its help shows.
    """

    def __init__(self, **options: Any) -> None:
        # `super().__init__` adds the flag --help.
        self._flags: list[str] = []
        self._flags_with_value: set[str] = set()
        self._subcommands: Any = None
        self._default_subcommand: str | None = None
        self.takes_config_options = False
        self.config_groups: tuple[str, ...] = ()
        self._shown_config: Config | None = None
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        self._flags += action.option_strings
        if action.nargs != 0:
            self._flags_with_value.update(action.option_strings)
        return action

    def add_subcommand(self, name: str, description: str, run: Run) -> Parser:
        """Add a subcommand with its own arguments and help."""
        if self._subcommands is None:
            self._subcommands = self.add_subparsers(
                title="subcommands", metavar="SUBCOMMAND", required=True
            )
        parser: Parser = self._subcommands.add_parser(
            name, help=description, description=description
        )
        parser.set_defaults(run=run)
        return parser

    def leaves(self) -> list[Parser]:
        """Return the parsers of the subcommands, or this one without any."""
        return [self] if self._subcommands is None else list(self._subcommands.choices.values())

    def set_default_subcommand(self, name: str) -> None:
        """Choose the subcommand that runs if the arguments name none."""
        self._default_subcommand = name

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments (UsageError: one is unknown, missing or has an invalid value)."""
        argv = list(args or ())
        overrides: list[str] = []
        if self._subcommands is not None:
            argv = self._with_subcommand_first(argv)
        if self.takes_config_options:
            from qc_core.config.options import split_options, to_argv

            argv, texts = split_options(argv)
            overrides = to_argv(texts)
            if {"-h", "--help"} & set(argv):
                self._shown_config = _named_config(argv, overrides)
        options, unknown = super().parse_known_args(argv)
        if unknown:
            raise UsageError(
                f"unknown option {unknown[0]}.{closest(unknown[0], self._known_flags())}"
            )
        if self.takes_config_options:
            options.overrides = overrides
        return options, unknown

    def format_help(self) -> str:
        parts = [super().format_help().rstrip(), examples_of(self.prog)]
        if self.takes_config_options:
            from qc_core.cli.config_help import config_help

            parts.append(config_help(self.config_groups, self._shown_config))
        return "\n\n".join(part for part in parts if part) + "\n"

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")

    def _with_subcommand_first(self, argv: list[str]) -> list[str]:
        subcommands: dict[str, Parser] = self._subcommands.choices
        with_value = set().union(*(parser._flags_with_value for parser in subcommands.values()))
        for place, (previous, argument) in enumerate(zip(["", *argv], argv, strict=False)):
            if argument in subcommands and previous not in with_value:
                return [argument, *argv[:place], *argv[place + 1 :]]
        if self._default_subcommand is None or argv[:1] in (["-h"], ["--help"]):
            return argv
        return [self._default_subcommand, *argv]

    def _known_flags(self) -> list[str]:
        if not self.takes_config_options:
            return self._flags
        from qc_core.config.options import options

        return [*self._flags, *(f"--{name}" for name in options())]


def _named_config(argv: Sequence[str], overrides: Sequence[str]) -> Config | None:
    """Return the configuration of the recipe among some arguments; None without a recipe."""
    from qc_core.config.catalog import is_recipe
    from qc_core.config.resolve import resolve

    recipe = next((argument for argument in argv if is_recipe(argument)), None)
    return None if recipe is None else resolve(recipe, overrides)

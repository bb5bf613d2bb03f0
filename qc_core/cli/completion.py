"""`qc completion`: print a script with which a shell completes commands, options and files."""

from __future__ import annotations

from argparse import Namespace

from qc_core.cli.commands import COMMANDS, load
from qc_core.cli.parser import Parser

SHELLS = ("bash", "zsh", "tcsh")


def arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="shell that reads the script")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the script."""
    import shtab

    print(shtab.complete(complete_parser(), options.shell))


def complete_parser() -> Parser:
    """Return one parser with all commands and options, without those of missing packages."""
    from qc_core.config.options import options

    root = Parser(prog="qc")
    commands = root.add_subparsers()
    for name, command in COMMANDS.items():
        parser = commands.add_parser(name, help=command.description)
        try:
            load(command.arguments)(parser)
        except ModuleNotFoundError:
            continue
        _offer_files(parser)
        for leaf in parser.leaves():
            _offer_files(leaf)
            if leaf.takes_config_options:
                for option in options().values():
                    leaf.add_argument(
                        f"--{option.name}",
                        choices=option.choices or None,
                        help=option.help.replace("%", "%%"),
                    )
    return root


def _offer_files(parser: Parser) -> None:
    """Let arguments without choices complete names of files."""
    import shtab

    for action in parser._actions:
        if action.choices is None and action.nargs != 0:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]

"""Entry point of the `qc` command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from qc_core import __version__
from qc_core.cli.commands import COMMANDS, Command
from qc_core.cli.words import Parser, split_overrides
from qc_core.errors import DEBUG_VARIABLE, QCError, UsageError, closest
from qc_core.log import configure_logging, printable

_INTERRUPTED = 130
# What a shell reports of a program that wrote to a reader who had left.
_READER_LEFT = 141


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 the work failed, 2 wrong use."""
    code = _run(words)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # All is done, and the reader has what it wanted, `qc recipes | head`.
        _write_nowhere()
    except OSError as error:
        _write_nowhere()
        print(f"qc: cannot write the output: {error.strerror}", file=sys.stderr)
        code = code or 1
    return code


def _run(words: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words or bool(os.environ.get(DEBUG_VARIABLE))
    words = [word for word in words if word != "--debug"]
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    configure_logging()
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        print("qc: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        if debug:
            raise
        # Whatever broke, the command has not done its work.
        with contextlib.suppress(OSError):
            print("qc: stopped, for a reader of what it writes has left", file=sys.stderr)
        _write_nowhere()
        return _READER_LEFT
    except QCError as error:
        if debug:
            raise
        # Names in it may come from files, which hold anything.
        print(f"qc: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith(("qc_core", "pipeline", "components")):
            raise
        print(
            f"qc: this command needs {error.name}, which is not installed here: "
            "install q-chunking[train,pipeline]",
            file=sys.stderr,
        )
        return UsageError.exit_code
    except Exception as error:
        if debug:
            raise
        text = printable(" ".join(str(error).split()))
        print(
            f"qc: unexpected {type(error).__name__}: {text} (--debug shows where)", file=sys.stderr
        )
        return 1


def _write_nowhere() -> None:
    """What Python still holds back for stdout goes nowhere when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"qc {__version__}")
        return 0
    name, rest = words[0], words[1:]
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command {name!r}: see qc --help.{closest(name, list(COMMANDS))}")
    parser = _parser(name, command)
    if command.takes_overrides:
        if {"-h", "--help"} & set(rest):
            parser.print_help()
            print("\noptions of the configuration, with the defaults of the paper:")
            _print_options()
            return 0
        rest, overrides = split_overrides(rest)
    else:
        overrides = []
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        if command.takes_overrides:
            from qc_core.config.options import options as config_options

            known += [f"--{option}" for option in config_options()]
        raise UsageError(f"unknown option {unknown[0]}.{closest(unknown[0], known)}")
    return command.run(options, overrides) or 0


def _parser(name: str, command: Command) -> Parser:
    parser = Parser(prog=f"qc {name}", description=command.description)
    command.add_arguments(parser)
    return parser


def _help() -> str:
    lines = [
        "qc: training pipelines for action-chunking robot policies",
        "",
        "usage: qc COMMAND … [--debug]      qc COMMAND --help tells more",
        "",
    ]
    lines += [f"  {name:<10} {command.description}" for name, command in COMMANDS.items()]
    lines += ["", "first steps: qc recipes, then qc run cube-single-quickstart"]
    return "\n".join(lines)


def _print_options() -> None:
    from qc_core.config.options import options as config_options

    for option in config_options().values():
        print(f"  --{option.name} ({option.default})\n      {option.help}")


if __name__ == "__main__":
    sys.exit(main())

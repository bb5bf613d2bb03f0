"""Entry point of the `qc` command."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from functools import partial

from qc_core import __version__, interruption
from qc_core.cli.commands import COMMANDS, load
from qc_core.cli.old_forms import current_form
from qc_core.cli.parser import Parser
from qc_core.errors import DEBUG_VARIABLE, QCError, UsageError, closest
from qc_core.interruption import Interrupted
from qc_core.log import QUIET_VARIABLE, configure_logging, printable

# The exit code that shells report for a program that was killed by SIGPIPE.
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns:
        0 success, 1 the work failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 141 the reader of the
        output closed it early.
    """
    if argv is None:
        report = partial(_interrupted, sys.argv[1:])
        interruption.raise_on(signal.SIGINT, signal.SIGTERM, leave=report)
    code = _run(argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The command has succeeded and the reader has all it wanted, as in `qc recipes | head`.
        _discard_output()
    except OSError as error:
        _discard_output()
        print(f"qc: cannot write the output: {error.strerror}", file=sys.stderr)
        code = code or 1
    return code


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv or bool(os.environ.get(DEBUG_VARIABLE))
    quiet = "--quiet" in argv
    argv = [argument for argument in argv if argument not in ("--debug", "--quiet")]
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    if quiet:
        os.environ[QUIET_VARIABLE] = "1"
    configure_logging()
    try:
        return _dispatch(argv)
    except KeyboardInterrupt as error:
        return _interrupted(argv, error)
    except BrokenPipeError:
        if debug:
            raise
        if not _has_lost_its_reader():
            print("qc: a pipe to another process broke (--debug shows where)", file=sys.stderr)
            return 1
        # As other programs that a closed pipe ends, such as `yes | head`.
        _discard_output()
        return _BROKEN_PIPE
    except QCError as error:
        if debug:
            raise
        # The message may quote a file, which can contain control characters.
        print(f"qc: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith(("qc_core.", "pipeline.", "components.")):
            raise
        print(
            f"qc: this command needs {error.name}, which is not installed; "
            f"run: pip install 'q-chunking[{_extras(argv)}]'",
            file=sys.stderr,
        )
        return UsageError.exit_code
    except Exception as error:
        if interruption.is_requested():
            # A library that is being imported may turn the interruption into another error.
            return _interrupted(argv, error)
        if debug:
            raise
        text = printable(" ".join(str(error).split()))
        print(
            f"qc: unexpected {type(error).__name__}: {text} (--debug shows the traceback)",
            file=sys.stderr,
        )
        return 1


def _extras(argv: list[str]) -> str:
    """Return the smallest installation that can run the command."""
    command = COMMANDS.get(argv[0]) if argv else None
    return command.extras if command is not None else "train,pipeline"


def _interrupted(argv: Sequence[str], error: BaseException) -> int:
    """Print that a command was interrupted, and how to resume it; return its exit code."""
    stop = error if isinstance(error, Interrupted) else Interrupted()
    command = COMMANDS.get(argv[0]) if argv else None
    remedy = "; run the same command again to resume" if command and command.resumes else ""
    print(f"qc: {printable(stop.line)}{remedy}", file=sys.stderr)
    return stop.exit_code


def _has_lost_its_reader() -> bool:
    """Return whether the reader of stdout or stderr has closed it."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _discard_output() -> None:
    """Redirect stdout to nowhere, so that Python cannot fail to flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        print(f"qc {__version__}")
        return 0
    name, *rest = current_form(argv)
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command {name!r}: see qc --help.{closest(name, list(COMMANDS))}")
    parser = Parser(prog=f"qc {name}", description=command.description)
    load(command.arguments)(parser)
    try:
        options = parser.parse_args(rest)
    except SystemExit as stop:
        # argparse has printed the help.
        return int(stop.code or 0)
    return options.run(options) or 0


def _help() -> str:
    lines = [
        "qc: training pipelines for action-chunking robot policies",
        "",
        "usage: qc COMMAND ... [--quiet] [--debug]      qc COMMAND --help shows its options",
        "",
    ]
    lines += [f"  {name:<11} {command.description}" for name, command in COMMANDS.items()]
    lines += ["", "first steps: qc recipes, then qc run cube-single-quickstart"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

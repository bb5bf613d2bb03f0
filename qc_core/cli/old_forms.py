"""Commands in the form of the previous release, which this release still accepts."""

from __future__ import annotations

from qc_core.errors import UsageError
from qc_core.log import log

_SCHEDULE = ("create", "list", "pause", "resume", "delete")
# Options of `qc schedule` without a value.
_SCHEDULE_SWITCHES = ("--json", "--pin", "-h", "--help")


def current_form(argv: list[str]) -> list[str]:
    """Return the arguments of `qc` in their current form; a hint names the new command.

    Raises:
        UsageError: an option that was removed.
    """
    command, rest = argv[0], argv[1:]
    if command == "study":
        return _renamed("qc study FILE", "qc sweep FILE", ["sweep", *rest])
    if command == "ingest" and _has(rest, "--describe"):
        source, rest = _take(rest, "--describe")
        return _renamed(
            "qc ingest --describe SOURCE", "qc describe SOURCE", ["describe", *source, *rest]
        )
    if command == "promote" and _has(rest, "--rollback"):
        name, rest = _take(rest, "--rollback")
        return _renamed(
            "qc promote --rollback NAME", "qc rollback NAME", ["rollback", *name, *rest]
        )
    if command == "play" and _has(rest, "--coherence"):
        figure, rest = _take(rest, "--coherence")
        output = ["-o", *figure] if figure else []
        return _renamed(
            "qc play POLICY --coherence", "qc coherence POLICY", ["coherence", *rest, *output]
        )
    if command == "play" and _has(rest, "--against"):
        raise UsageError(
            "--against is not an option of qc play: compare two policies with "
            "`qc coherence POLICY --against DIR`"
        )
    if command == "schedule":
        if _has(rest, "--time-zone"):
            raise UsageError(
                "--time-zone was removed: KFP has one time zone for all schedules, "
                "cronScheduleTimezone; leave the option out"
            )
        names = _positional(rest, _SCHEDULE_SWITCHES)
        if names and names[0] not in _SCHEDULE:
            return _renamed(
                "qc schedule RECIPE", "qc schedule create RECIPE", ["schedule", "create", *rest]
            )
    return argv


def _renamed(old: str, new: str, argv: list[str]) -> list[str]:
    log.info(f"`{old}` is now `{new}`; the old form will be removed")
    return argv


def _positional(argv: list[str], switches: tuple[str, ...]) -> list[str]:
    """Return the arguments that are no options and no values of options.

    Args:
        switches: options without a value, besides those of the configuration.
    """
    from qc_core.config.options import split_options

    others, _ = split_options(argv)
    found = []
    for previous, argument in zip(["", *others], others, strict=False):
        takes_value = previous.startswith("-") and "=" not in previous
        if not argument.startswith("-") and (previous in switches or not takes_value):
            found.append(argument)
    return found


def _has(argv: list[str], flag: str) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in argv)


def _take(argv: list[str], flag: str) -> tuple[list[str], list[str]]:
    """Return the value of an option, if it has one, and the other arguments."""
    place = next(i for i, argument in enumerate(argv) if argument.partition("=")[0] == flag)
    before, argument, after = argv[:place], argv[place], argv[place + 1 :]
    if "=" in argument:
        return [argument.partition("=")[2]], [*before, *after]
    if after and not after[0].startswith("-"):
        return [after[0]], [*before, *after[1:]]
    return [], [*before, *after]

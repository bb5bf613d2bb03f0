"""The ways in which a command can end badly."""

from __future__ import annotations

# Set to anything to see tracebacks, in every process of a run.
DEBUG_VARIABLE = "QC_DEBUG"


class QCError(Exception):
    """One line for a person: what, the limit, what was got, what to do."""

    exit_code = 1


class RunError(QCError):
    """The work was asked for rightly and could not be done (exit code 1)."""


class TrainingDiverged(RunError):
    """A training's figures are no longer finite: the setting's fault, not the machine's."""


class TransientError(RunError):
    """The machine failed, not what was asked of it: another try may do better."""


class UsageError(QCError):
    """The request or its input is wrong; the message says how to mend it (exit code 2)."""

    exit_code = 2


def closest(word: str, known: list[str]) -> str:
    """' Did you mean …?' for a near miss, else ''."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""

"""The errors that a command reports in one line, with their exit codes."""

from __future__ import annotations

# Any value shows tracebacks, in every process of a run.
DEBUG_VARIABLE = "QC_DEBUG"


class QCError(Exception):
    """An error whose message is one line: what is wrong, the value, the limit, what to do."""

    exit_code = 1


class RunError(QCError):
    """The request is valid, but the work failed (exit code 1)."""


class TrainingDiverged(RunError):
    """Losses or weights are not finite, because of the settings: do not retry."""


class TransientError(RunError):
    """The machine failed, such as a killed process or a full disk: a retry may succeed."""


class UsageError(QCError):
    """The request or its input is invalid; the message says how to fix it (exit code 2)."""

    exit_code = 2


def closest(word: str, known: list[str]) -> str:
    """Return ' Did you mean X?' with the most similar known word, or '' if none is similar."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""

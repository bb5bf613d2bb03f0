"""The first screen of a run in KFP: its result or its error as Markdown, and a few numbers."""

from __future__ import annotations

from qc_core.notify.completion import METRICS, Completion
from qc_core.notify.run_status import RunStatus

# KFP accepts only numbers, and every run has the same names. No rate and no count is negative; a
# return is measured if episodes were played.
NOT_MEASURED = -1.0


def summary_markdown(status: RunStatus, completion: Completion | None, log: str) -> str:
    """Return the summary of a run that has ended.

    Args:
        completion: the result of a run that has completed.
        log: where a person finds the log of the step that failed, in Markdown.
    """
    if completion is None or not status.succeeded:
        parts = [f"**{_escaped(status.text)}**", f"Log: {log}", *_ending(status)]
        return "\n\n".join(parts) + "\n"
    parts = [f"**{_escaped(completion.verdict)}**", _table(completion)]
    if completion.policy:
        name = completion.policy.replace(":", "-")
        kind = "yes" if completion.champion else "no"
        parts += [
            f"Version: `{completion.policy}` in `{completion.store}`",
            f"Champion: {kind}, {_escaped(completion.reason)}",
            f"```\nqc pull {completion.policy} -o {name}\n```",
        ]
    parts += _ending(status)
    return "\n\n".join(part for part in parts if part) + "\n"


def result_metrics(completion: Completion | None) -> dict[str, float]:
    """Return a number for each of `METRICS`; `NOT_MEASURED` stands for one that a run lacks."""
    values = completion.metrics if completion is not None else {}
    found = {name: values.get(name) for name in METRICS}
    return {name: NOT_MEASURED if value is None else value for name, value in found.items()}


def _ending(status: RunStatus) -> list[str]:
    warning = [f"Warning: {_escaped(status.warning)}"] if status.warning else []
    return [*warning, f"Run: `{status.run_id}`"]


def _table(completion: Completion) -> str:
    """Return one row per compared policy; the published one is bold."""
    if not completion.policies:
        return ""
    header = ["policy", *(name for name, _ in completion.policies[0].measures)]
    rows = [[row.name, *(value for _, value in row.measures)] for row in completion.policies]
    for row, cells in zip(completion.policies, rows, strict=True):
        if row.published:
            cells[:] = [f"**{cell}**" for cell in cells]
            cells[0] += ", published"
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escaped(text: str) -> str:
    """Return text in which Markdown shows every character as it is."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)

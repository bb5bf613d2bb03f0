"""`qc runs`: list the runs of this machine and of the store."""

from __future__ import annotations

import shlex
import textwrap
from argparse import Namespace
from typing import Any

from qc_core.cli.arguments import json_argument
from qc_core.cli.output import duration, print_json, print_table
from qc_core.cli.parser import Parser
from qc_core.config.options import OptionText, to_argv
from qc_core.documents import to_json
from qc_core.errors import UsageError
from qc_core.readable import measures
from qc_core.runs.run import Run


def arguments(parser: Parser) -> None:
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="newest runs only (20)")
    json_argument(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Print the newest runs in ./runs and in the store."""
    from pipeline.local_runs import all_runs
    from pipeline.run_folder import RUNS
    from qc_core.store.open import open_store

    if options.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {options.limit}")
    store = open_store()
    store.check()
    found = all_runs(store)
    shown = found[: options.limit]
    if options.json:
        print_json([_as_dict(run) for run in shown])
        return
    if not found:
        print(f"no runs in ./{RUNS} or in {store.describe()}: start one with qc run RECIPE")
        return
    print_table(
        (
            *("run", "started (UTC)", "recipe", "method", "changes", "offline", "online"),
            *("time", "state"),
        ),
        [_row(run) for run in shown],
    )
    if len(found) > len(shown):
        print(f"\nthe newest {len(shown)} of {len(found)}: --limit {len(found)} shows all")


def _row(run: Run) -> tuple[str, ...]:
    return (
        run.name,
        (run.started or run.ended)[:16].replace("T", " ") or "-",
        run.recipe or "-",
        run.method or "-",
        _changes(run) or "-",
        *(_score(result) for result in (run.offline, run.online)),
        "-" if run.seconds is None else duration(run.seconds),
        textwrap.shorten(f"{run.state}: {run.error}", 72) if run.error else run.state,
    )


def _changes(run: Run) -> str:
    """Return what differs from the recipe as options of a command."""
    texts: dict[str, OptionText] = {
        name: value
        if isinstance(value, bool)
        else list(map(str, value))
        if isinstance(value, list)
        else str(value)
        for name, value in run.changes.items()
    }
    return shlex.join(to_argv(texts))


def _score(result: Any) -> str:
    return "-" if result is None else next(iter(measures(result).values()))


def _as_dict(run: Run) -> dict[str, Any]:
    offline, online = run.offline, run.online
    return {
        "run": run.run_id,
        "name": run.name,
        "recipe": run.recipe,
        "method": run.method,
        "changes": run.changes,
        "offline": None if offline is None else _summary(offline),
        "online": None if online is None else _summary(online),
        "policy": run.policy or None,
        "champion": run.champion,
        "started": run.started or None,
        "seconds": run.seconds,
        "state": run.state,
        "error": run.error or None,
        "folder": None if run.folder is None else str(run.folder),
    }


def _summary(result: Any) -> dict[str, Any]:
    content = to_json(result)
    return {key: content[key] for key in ("success", "steps", "return", "reports-success")}

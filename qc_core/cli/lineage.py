"""`qc policies lineage`: a policy and its chain of parents."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from qc_core.cli.output import print_json, print_table

_DIGEST = 12


def show_lineage(options: Namespace) -> None:
    """Print the run, data and gate result of a policy and of each parent."""
    from qc_core.retraining.lineage import lineage
    from qc_core.store.open import open_store

    chain = lineage(open_store(), options.policy)
    if options.json:
        print_json(chain)
        return
    print_table(
        ("policy", "created (UTC)", "run", "data", "gate"),
        [row for entry in chain for row in _rows(entry)],
    )


def _rows(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each source of the data; the first row has all other columns too."""
    if "created" not in entry:
        return [(entry["policy"], "deleted", "-", "-", "-")]
    gate = entry["gate"]
    reason = "-" if gate is None else gate["reason"]
    sources = [_source(source) for source in entry["data"]] or ["unknown"]
    created = entry["created"][:19].replace("T", " ")
    first = (entry["policy"], created, entry["run"] or "-", sources[0], reason)
    return [first, *(("", "", "", source, "") for source in sources[1:])]


def _source(source: Mapping[str, Any]) -> str:
    digest = (source["digest"] or "unknown")[:_DIGEST]
    return f"{source['kind']}: {source['episodes']} episodes, {digest}"

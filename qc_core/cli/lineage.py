"""`qc policies lineage`: a policy and those that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qc_core.cli.output import print_json, print_table
from qc_core.documents import to_json
from qc_core.retraining.lineage import DeletedVersion, LineageEntry, lineage
from qc_core.store.open import open_store

_DIGEST = 12


def show_lineage(reference: str, *, as_json: bool) -> None:
    """Print the chain of parents: which run, which data, which gate."""
    chain = lineage(open_store(), reference)
    if as_json:
        print_json([to_json(entry) for entry in chain])
        return
    print_table(
        ("policy", "created (UTC)", "run", "data", "gate"),
        [row for entry in chain for row in _rows(entry)],
    )


def _rows(entry: LineageEntry | DeletedVersion) -> list[tuple[str, ...]]:
    """Return one row per data source; the first row also has the version's other columns."""
    if isinstance(entry, DeletedVersion):
        return [(entry.policy, "deleted", "-", "-", "-")]
    decision = "-" if entry.gate is None else entry.gate["reason"]
    sources = [_source(source) for source in entry.data] or ["unknown"]
    created = entry.created[:19].replace("T", " ")
    first = (entry.policy, created, entry.run or "-", sources[0], decision)
    return [first, *(("", "", "", source, "") for source in sources[1:])]


def _source(source: Mapping[str, Any]) -> str:
    digest = (source["digest"] or "unknown")[:_DIGEST]
    return f"{source['kind']}: {source['episodes']} episodes, {digest}"

"""`qc policies lineage`: a policy and its chain of parents."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from qc_core.cli.output import print_json, print_table
from qc_core.documents import to_json

if TYPE_CHECKING:
    from qc_core.policy_format.data_source import DataSummary
    from qc_core.retraining.lineage import DeletedVersion, LineageEntry

_DIGEST = 12


def show_lineage(options: Namespace) -> None:
    """Print the run, data and gate result of a policy and of each parent."""
    from qc_core.retraining.lineage import lineage
    from qc_core.store.open import open_store

    chain = lineage(open_store(), options.policy)
    if options.json:
        print_json([to_json(entry) for entry in chain])
        return
    print_table(
        ("policy", "created (UTC)", "run", "data", "gate"),
        [row for entry in chain for row in _rows(entry)],
    )


def _rows(entry: LineageEntry | DeletedVersion) -> list[tuple[str, ...]]:
    """Return one row per data source; the first row also has the version's other columns."""
    from qc_core.retraining.lineage import DeletedVersion

    if isinstance(entry, DeletedVersion):
        return [(entry.policy, "deleted", "-", "-", "-")]
    reason = "-" if entry.gate is None else entry.gate.reason
    sources = [_source(source) for source in entry.data] or ["unknown"]
    created = entry.created[:19].replace("T", " ")
    first = (entry.policy, created, entry.run or "-", sources[0], reason)
    return [first, *(("", "", "", source, "") for source in sources[1:])]


def _source(source: DataSummary) -> str:
    digest = (source.digest or "unknown")[:_DIGEST]
    return f"{source.kind}: {source.episodes} episodes, {digest}"

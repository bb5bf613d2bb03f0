"""`qc episodes`: upload what robots and simulators have played, and see what is there."""

from __future__ import annotations

from pathlib import Path

from qc_core.cli.output import print_json, print_table
from qc_core.data.uploads.episodes import list_episodes, push_episodes
from qc_core.documents import to_json
from qc_core.errors import UsageError
from qc_core.store.open import open_store


def push(files: list[Path], environment: str, *, as_json: bool) -> None:
    """Upload files and print what became of each (UsageError in the end if one was bad)."""
    uploads = push_episodes(open_store(), environment, files)
    if as_json:
        print_json([to_json(upload) for upload in uploads])
    else:
        print_table(
            ("file", "state", "episodes", "key or reason"),
            [(u.file, u.state, str(u.episodes), u.reason or u.key) for u in uploads],
        )
    bad = sum(upload.state == "quarantined" for upload in uploads)
    if bad:
        raise UsageError(
            f"{bad} of {len(uploads)} files are in quarantine, the rest are there to learn from"
        )


def list_all(*, as_json: bool) -> None:
    """Print every file that was uploaded, and why those in quarantine are there."""
    store = open_store()
    store.check()
    entries = list(list_episodes(store))
    if as_json:
        print_json([to_json(entry) for entry in entries])
    elif not entries:
        print(f"no episodes in {store.describe()}: qc episodes push adds some")
    else:
        print_table(
            ("environment", "key", "quarantined because"),
            [(e.environment, e.key, e.reason or "-") for e in entries],
        )

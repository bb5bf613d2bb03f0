"""Checksums of a checkpoint's files: `SHA256SUMS`, in the format of `sha256sum --check`."""

from __future__ import annotations

from pathlib import Path

from qc_core.errors import UsageError
from qc_core.files import reading, sha256_of

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files of a folder."""
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / CHECKSUMS).write_text("".join(lines))


def require_intact(folder: Path, *names: str) -> None:
    """Compare files of a folder with their checksums, by default all files that have one.

    Folders of earlier releases have no checksums and pass.

    Raises:
        UsageError: a file is missing or altered; the message names it.
    """
    expected = _read(folder)
    for name in names or expected:
        path = folder / name
        if name not in expected:
            continue
        if not path.is_file():
            raise UsageError(f"{path} is missing: restore it, or train again")
        if sha256_of(path) != expected[name]:
            raise UsageError(
                f"{path} is damaged: its checksum differs from the one in {CHECKSUMS}; restore "
                "the file, or train again"
            )


def _read(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    with reading(path):
        if not path.exists():
            return {}
        lines = path.read_text(errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

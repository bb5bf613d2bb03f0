"""The files of a policy folder, and the check that they are complete and unaltered."""

from __future__ import annotations

from pathlib import Path

from qc_core import documents
from qc_core.errors import RunError, UsageError
from qc_core.files import reading, sha256_of
from qc_core.policy_format.contract import Contract

MODEL, CONTRACT, GOLDEN, CARD = "policy.onnx", "policy.json", "golden.npz", "model-card.md"
CHECKSUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
CONTENTS = (MODEL, CONTRACT, GOLDEN, CARD)


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS` in the format of `sha256sum --check`."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in CONTENTS]
    (folder / CHECKSUMS).write_text("".join(lines))


def verify(folder: Path) -> None:
    """Compare every file of a policy folder with its checksum and refuse any other file.

    Files whose name starts with a dot are ignored, because file managers create them.

    Raises:
        UsageError: not a policy folder.
        RunError: a file is missing, truncated, altered, not readable or not part of a policy;
            the message names it.
    """
    with reading(folder):
        _verify(folder)


def _verify(folder: Path) -> None:
    checksums = folder / CHECKSUMS
    if not checksums.is_file():
        raise UsageError(f"{folder} is not a policy folder: it has no {CHECKSUMS}")
    expected: dict[str, str] = {}
    for line in checksums.read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name not in CONTENTS or name in expected:
            raise RunError(
                f"{checksums} is altered: it must list {', '.join(CONTENTS)}, each once, "
                f"got {line[:200]!r}"
            )
        expected[name] = digest
    for path in folder.iterdir():
        if path.name not in (*CONTENTS, CHECKSUMS, SIGNATURE) and not path.name.startswith("."):
            raise RunError(f"{path} is not part of the policy: move it out of the folder")
    for name in CONTENTS:
        if name not in expected:
            raise RunError(f"{checksums} does not list {name}")
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing")
        if sha256_of(folder / name) != expected[name]:
            raise RunError(f"{folder / name} is truncated or altered: pull it again")


def read_contract(folder: Path) -> Contract:
    """Read `policy.json` (UsageError: missing, damaged, or an unknown schema version)."""
    return documents.read(folder / CONTRACT, Contract)

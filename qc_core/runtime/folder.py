"""The policy folder: what must be in it, and that it is what its maker wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.errors import WorkFailed, WrongUse
from qc_core.files import read_json, require_fields, sha256_of
from qc_core.runtime.contract import require_sizes

MODEL, CONTRACT, GOLDEN, CARD = "policy.onnx", "policy.json", "golden.npz", "model-card.md"
CHECKSUMS = "SHA256SUMS"
CONTENTS = (MODEL, CONTRACT, GOLDEN, CARD)
SCHEMA_VERSION = 1
_CONTRACT_FIELDS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "environment": str,
    "horizon": int,
    "execution-length": int,
    "control-interval-seconds": (int, float),
    "episode-limit": int,
    "observation": dict,
    "action": dict,
    "noise": dict,
    "evaluation": (dict, type(None)),
}


def write_checksums(folder: Path) -> None:
    """Write `SHA256SUMS`, in the form that `sha256sum --check` reads."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in CONTENTS]
    (folder / CHECKSUMS).write_text("".join(lines))


def verify(folder: Path) -> None:
    """Compare every file of a policy folder with its checksum.

    Raises:
        WrongUse: not a policy folder.
        WorkFailed: a file is missing, truncated or altered; the message names it.
    """
    checksums = folder / CHECKSUMS
    if not checksums.is_file():
        raise WrongUse(f"{folder} is not a policy folder: it has no {CHECKSUMS}")
    expected = {}
    for line in checksums.read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        expected[name] = digest
    for name in CONTENTS:
        if name not in expected:
            raise WorkFailed(f"{checksums} does not list {name}")
        if not (folder / name).is_file():
            raise WorkFailed(f"{folder / name} is missing")
        if sha256_of(folder / name) != expected[name]:
            raise WorkFailed(f"{folder / name} is truncated or altered: pull it again")


def read_contract(folder: Path) -> dict[str, Any]:
    """The policy's contract (WrongUse: unreadable, or a schema this version does not know)."""
    contract = read_json(folder / CONTRACT)
    require_fields(contract, {"schema-version": int}, str(folder / CONTRACT))
    version = contract["schema-version"]
    if version != SCHEMA_VERSION:
        raise WrongUse(
            f"{folder / CONTRACT}: policy schema {SCHEMA_VERSION} is needed, got {version}"
        )
    require_fields(contract, _CONTRACT_FIELDS, str(folder / CONTRACT))
    require_sizes(contract, str(folder / CONTRACT))
    return contract

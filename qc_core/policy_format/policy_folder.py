"""The policy folder: what must be in it, and that it is what its maker wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.errors import RunError, UsageError
from qc_core.files import read_json, reading, require_fields, sha256_of
from qc_core.policy_format.contract import require_sizes

MODEL, CONTRACT, GOLDEN, CARD = "policy.onnx", "policy.json", "golden.npz", "model-card.md"
CHECKSUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
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
    """Compare every file of a policy folder with its checksum, and refuse what has none.

    Files whose name begins with a dot are not looked at: file managers leave them.

    Raises:
        UsageError: not a policy folder.
        RunError: a file is missing, truncated, altered, not readable or no part of a policy;
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
            raise RunError(f"{path} is no part of the policy: move it out of the folder")
    for name in CONTENTS:
        if name not in expected:
            raise RunError(f"{checksums} does not list {name}")
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing")
        if sha256_of(folder / name) != expected[name]:
            raise RunError(f"{folder / name} is truncated or altered: pull it again")


def read_contract(folder: Path) -> dict[str, Any]:
    """The policy's contract (UsageError: damaged, or a schema this version does not know)."""
    return check_contract(read_json(folder / CONTRACT), str(folder / CONTRACT))


def check_contract(contract: Any, what: str) -> dict[str, Any]:
    """A contract as it was read, if it is one of this schema (UsageError).

    Args:
        what: the file or object, as the message names it.
    """
    require_fields(contract, {"schema-version": int}, what)
    version = contract["schema-version"]
    if version != SCHEMA_VERSION:
        raise UsageError(f"{what}: policy schema {SCHEMA_VERSION} is needed, got {version}")
    require_fields(contract, _CONTRACT_FIELDS, what)
    require_sizes(contract, what)
    return contract

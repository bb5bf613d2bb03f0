"""Golden cases (`golden.npz`): inputs with the outputs that a policy must give on any machine."""

from __future__ import annotations

import tokenize
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.contract import Actions
from qc_core.policy_format.policy_folder import GOLDEN
from qc_core.runtime.policy import ChunkPolicy

# The maximum difference, in the unit of `max_difference`.
TOLERANCE = 1e-5
# Exceptions that NumPy and zipfile raise for a damaged or hostile file.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
_ARRAYS = ("observation", "noise", "action_chunk")
# Unpacked size: a thousand times what the cases of a policy need.
_MAX_BYTES = 64 << 20


def max_difference(chunk_BHA: np.ndarray, expected_BHA: np.ndarray, action: Actions) -> float:
    """Return the maximum difference over all actions.

    Half the range of an action counts as 1, as in the networks, whose actions are in [-1, 1].
    Actions with a smaller range count in their own unit.
    """
    unit_A = np.maximum((np.asarray(action.high) - np.asarray(action.low)) / 2, 1.0)
    return float((np.abs(chunk_BHA - expected_BHA) / unit_A).max())


def check_golden(folder: Path) -> str:
    """Run the golden cases of a policy folder on this machine and return the result in one line.

    Raises:
        RunError: the chunks differ from the expected ones, or the cases are not of this policy.
    """
    try:
        cases = _read_cases(folder / GOLDEN)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{folder / GOLDEN} cannot be read: {reason}") from error
    policy = ChunkPolicy(folder)
    try:
        chunk_BHA = policy.chunk(cases["observation"], cases["noise"])
    except UsageError as error:
        raise RunError(f"{folder / GOLDEN} is not of this policy: {error}") from error
    if chunk_BHA.shape != cases["action_chunk"].shape:
        raise RunError(
            f"{folder / GOLDEN} expects chunks {list(cases['action_chunk'].shape)}, "
            f"the policy gives {list(chunk_BHA.shape)}"
        )
    worst = max_difference(chunk_BHA, cases["action_chunk"], policy.contract.action)
    result = (
        f"{len(chunk_BHA)} golden cases on {policy.provider}: maximum difference {worst:.1e}, "
        f"at most {TOLERANCE:.0e} is allowed"
    )
    if not worst <= TOLERANCE:
        raise RunError(f"{result}: do not use this policy on this machine")
    return result


def _read_cases(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays by name (one of `_DAMAGE`: arrays are missing, or hold no numbers)."""
    cases = {}
    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes, at most {_MAX_BYTES:,} are allowed")
        for name in _ARRAYS:
            with archive.open(f"{name}.npy") as member:
                cases[name] = npy.read_array(member, allow_pickle=False)
    if any(array.dtype.kind != "f" or not array.size for array in cases.values()):
        raise ValueError("it has no cases of numbers")
    return cases

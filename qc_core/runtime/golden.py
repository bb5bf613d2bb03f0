"""`golden.npz`: inputs, and what the policy must make of them on any machine."""

from __future__ import annotations

import tokenize
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.policy_folder import GOLDEN
from qc_core.runtime.policy import ChunkPolicy

# The greatest difference allowed, in the unit of `greatest_difference`.
TOLERANCE = 1e-5
# Whatever a damaged or hostile zip file makes NumPy and the library raise.
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
# Unpacked: a thousand times what a policy's cases need.
_MOST_BYTES = 64 << 20


def greatest_difference(
    chunk_BHA: np.ndarray, expected_BHA: np.ndarray, contract: dict[str, Any]
) -> float:
    """Over all actions, in units of the networks' own [-1, 1] where actions have others."""
    low_A, high_A = (np.asarray(contract["action"][name]) for name in ("low", "high"))
    unit_A = np.maximum((high_A - low_A) / 2, 1.0)
    return float((np.abs(chunk_BHA - expected_BHA) / unit_A).max())


def check_golden(folder: Path) -> str:
    """Play a policy folder's golden cases here and say how they went.

    Raises:
        RunError: the chunks are not those that they must be, or there are no cases of this
            policy.
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
    worst = greatest_difference(chunk_BHA, cases["action_chunk"], policy.contract)
    told = (
        f"{len(chunk_BHA)} golden cases on {policy.provider}: greatest difference {worst:.1e}, "
        f"at most {TOLERANCE:.0e} is allowed"
    )
    if not worst <= TOLERANCE:
        raise RunError(f"{told}: do not use this policy on this machine")
    return told


def _read_cases(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name; whatever is in `_DAMAGE` where they are not there, or no numbers."""
    cases = {}
    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes, at most {_MOST_BYTES:,} are allowed")
        for name in _ARRAYS:
            with archive.open(f"{name}.npy") as member:
                cases[name] = npy.read_array(member, allow_pickle=False)
    if any(array.dtype.kind != "f" or not array.size for array in cases.values()):
        raise ValueError("it has no cases of numbers")
    return cases

"""Small policy folders for tests of the store; their models cannot run."""

import json
from pathlib import Path

from qc_core.policy_format.policy_folder import CARD, CONTRACT, GOLDEN, MODEL, write_checksums


def write_policy(folder: Path, seed: int, weights: str | None = None) -> Path:
    """Write a policy folder in which every file contains the seed.

    Args:
        weights: digest of the weights that it was exported from.
    """
    folder.mkdir(parents=True)
    contract = {
        "schema-version": 2,
        "method": "qc",
        "environment": "robot/small",
        "chunk-length": 5,
        "execution-horizon": 5,
        "control-interval-seconds": 0.05,
        "episode-limit": 200,
        "observation": {"names": ["x"]},
        "action": {"names": ["u"], "low": [-1.0], "high": [1.0]},
        "noise": {"shape": [5]},
        "evaluation": None,
        "seed": seed,
        "provenance": {"weights": weights},
    }
    (folder / CONTRACT).write_text(json.dumps(contract))
    for name in (MODEL, GOLDEN, CARD):
        (folder / name).write_bytes(f"{name} of {seed}\n".encode() * 100)
    write_checksums(folder)
    return folder


def seed_of(folder: Path) -> int:
    """Return the seed that every file of a folder contains."""
    seed = json.loads((folder / CONTRACT).read_bytes())["seed"]
    for name in (MODEL, GOLDEN, CARD):
        assert (folder / name).read_bytes() == f"{name} of {seed}\n".encode() * 100
    return seed

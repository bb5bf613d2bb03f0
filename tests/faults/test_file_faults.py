"""Altered files: a small number of attacks, or as many as FAULTS says."""

import os
from pathlib import Path

from tests.faults.file_faults import LOST, SURVIVED, attack


def test_an_altered_file_is_read_or_refused_in_one_line(policy: Path) -> None:
    attempts, seed = int(os.environ.get("FAULTS", "60")), int(os.environ.get("SEED", "2"))
    results, losses = attack(policy, attempts, seed)
    print(f"attempts {results.total()}: survived {results[SURVIVED]}, lost {results[LOST]}")
    assert results[LOST] == 0, losses
    assert results.total() == attempts

"""Two versions of one policy; the second was trained from the first."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from qc_core.registry.gate_record import write_gate_record
from qc_core.store.open import open_store
from tests.qc_core.registry.test_gate_record import RECORD
from tests.qc_core.retraining.versions import BOTH, OLD, publish


@pytest.fixture
def first(tmp_path: Path) -> str:
    return publish(tmp_path / "run-1", OLD, None)


@pytest.fixture
def second(tmp_path: Path, first: str) -> str:
    version = publish(tmp_path / "run-2", BOTH, f"smoke:{first}")
    write_gate_record(open_store(), "smoke", version, replace(RECORD, champion_before=first))
    return version

"""Every step of a run leaves what it cost, over all its attempts."""

import pytest

from qc_core.errors import RunError
from qc_core.notify.step import run_step
from qc_core.results.step_cost import read_costs
from qc_core.store.open import open_store


def test_cost_of_a_repeated_step_is_that_of_all_attempts() -> None:
    with pytest.raises(SystemExit), run_step("tune", "work", "r-1", "0"):
        raise RunError("no GPU")
    for worker in ("0", "1"):
        with run_step("tune", "work", "r-1", worker):
            pass
    first, second = read_costs(open_store(), "r-1")
    assert [(cost.worker, cost.attempts) for cost in (first, second)] == [("0", 2), ("1", 1)]
    assert first.seconds > 0 and "core" in first.hardware
    # The tests train on the CPU.
    assert first.gpu_joules is None
    assert read_costs(open_store(), "r-2") == []


def test_a_store_that_does_not_answer_does_not_fail_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QC_STORE", "s3://nowhere/at-all")
    monkeypatch.setenv("QC_S3_ENDPOINT", "not an address")
    with run_step("export", "work", "r-1"):
        pass

"""Worker processes share the work as told, in order, within bounds."""

import os
from collections.abc import Iterator

import pytest

from qc_core.processes import map_in_order, one_thread_each, worker_pool


def test_results_come_in_order_and_little_is_begun_ahead() -> None:
    begun = []

    def items() -> Iterator[int]:
        for item in range(20):
            begun.append(item)
            yield item

    with worker_pool(2) as pool:
        results = map_in_order(pool, abs, items(), ahead=3)
        for taken, result in enumerate(results):
            assert result == taken
            assert len(begun) <= taken + 1 + 3
    assert len(begun) == 20


def test_processes_compute_in_one_thread_and_this_one_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with one_thread_each(), worker_pool(1) as pool:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            assert pool.submit(os.getenv, name).result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ

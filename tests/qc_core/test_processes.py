"""Worker processes share the work as told, in order, within bounds."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qc_core.files import staged_folder
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


def wait_for_ever(target: Path) -> None:
    with staged_folder(target):
        (target.parent / "begun").touch()
        time.sleep(10_000)


def test_when_the_caller_is_interrupted_the_work_is_broken_off_and_cleaned_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        for name in ("first", "second"):
            pool.submit(wait_for_ever, tmp_path / name)
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
    assert not multiprocessing.active_children()


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

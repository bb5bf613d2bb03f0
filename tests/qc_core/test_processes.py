"""Worker processes share the work as told, in order, within bounds."""

import multiprocessing
import os
import threading
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


def begin_and_sleep(begun: Path) -> None:
    begun.touch()
    time.sleep(10_000)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def wait_for_ever(target: Path) -> None:
    with staged_folder(target):
        begin_and_sleep(target.parent / "begun")


def test_when_the_caller_is_interrupted_the_work_is_broken_off_and_cleaned_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        for name in ("first", "second"):
            pool.submit(wait_for_ever, tmp_path / name)
        wait_for(tmp_path / "begun")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
    assert not multiprocessing.active_children()


def test_processes_that_have_nothing_to_do_yet_or_any_more_leave_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        worker_pool(1, begin_and_sleep, tmp_path / "begun") as pool,
    ):
        pool.submit(abs, 1)
        wait_for(tmp_path / "begun")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), worker_pool(2) as pool:
        for _ in range(8):
            pool.submit(abs, 1).result()
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def clean_up_slowly(folder: Path) -> None:
    try:
        begin_and_sleep(folder / "begun")
    finally:
        time.sleep(0.5)
        (folder / "cleaned").touch()


def test_one_that_leaves_does_not_hurry_another_that_cleans_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(2) as pool:
        pool.submit(clean_up_slowly, tmp_path)
        pool.submit(abs, 1).result()
        wait_for(tmp_path / "begun")
        raise KeyboardInterrupt
    assert (tmp_path / "cleaned").exists()
    assert capfd.readouterr().err == ""


class SlowToGo:
    def __init__(self, begun: Path) -> None:
        self._begun = begun

    def __del__(self) -> None:
        begin_and_sleep(self._begun)


def clear_away(begun: Path) -> None:
    SlowToGo(begun)
    time.sleep(10_000)


def test_what_swallows_the_signal_is_told_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        pool.submit(clear_away, tmp_path / "begun")
        wait_for(tmp_path / "begun")
        raise KeyboardInterrupt
    assert capfd.readouterr().err == ""


class Unread:
    """Who receives it waits for a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return wait_for, (self._file,)


def longer_than_a_pipe_takes(begun: Path) -> bytes:
    begun.touch()
    return bytes(1 << 20)


def test_nobody_waits_for_the_rest_of_a_result(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        pool.submit(Unread, tmp_path / "read")
        pool.submit(longer_than_a_pipe_takes, tmp_path / "begun")
        wait_for(tmp_path / "begun")
        time.sleep(0.2)
        raise KeyboardInterrupt
    (tmp_path / "read").touch()
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


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

"""Pools return results in order, and interrupted workers clean up and exit."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qc_core.errors import TransientError, UsageError
from qc_core.files import staged_folder
from qc_core.worker_pool import WorkerKilled, futures_in_order, worker_pool


def test_futures_in_order_limits_calls_ahead() -> None:
    started = []

    def items() -> Iterator[int]:
        for item in range(20):
            started.append(item)
            yield item

    with worker_pool(2) as pool:
        results = futures_in_order(pool, abs, items(), ahead=3)
        for taken, future in enumerate(results):
            assert future.result() == taken
            assert len(started) <= taken + 1 + 3
    assert len(started) == 20


def touch_and_sleep(started: Path) -> None:
    started.touch()
    time.sleep(10_000)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def stage_and_sleep(target: Path) -> None:
    with staged_folder(target):
        touch_and_sleep(target.parent / "started")


def test_interrupted_calls_clean_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        for name in ("first", "second"):
            pool.submit(stage_and_sleep, tmp_path / name)
        wait_for(tmp_path / "started")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["started"]
    assert not multiprocessing.active_children()


def test_starting_and_idle_workers_exit_without_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        worker_pool(1, touch_and_sleep, tmp_path / "started") as pool,
    ):
        pool.submit(abs, 1)
        wait_for(tmp_path / "started")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), worker_pool(2) as pool:
        for _ in range(8):
            pool.submit(abs, 1).result()
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def clean_up_slowly(folder: Path) -> None:
    try:
        touch_and_sleep(folder / "started")
    finally:
        time.sleep(0.5)
        (folder / "cleaned").touch()


def test_an_exiting_worker_does_not_interrupt_cleanup_of_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(2) as pool:
        pool.submit(clean_up_slowly, tmp_path)
        pool.submit(abs, 1).result()
        wait_for(tmp_path / "started")
        raise KeyboardInterrupt
    assert (tmp_path / "cleaned").exists()
    assert capfd.readouterr().err == ""


class SlowFinalizer:
    def __init__(self, started: Path) -> None:
        self._started = started

    def __del__(self) -> None:
        touch_and_sleep(self._started)


def sleep_in_finalizer(started: Path) -> None:
    SlowFinalizer(started)
    time.sleep(10_000)


def test_a_worker_that_loses_the_signal_is_signalled_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        pool.submit(sleep_in_finalizer, tmp_path / "started")
        wait_for(tmp_path / "started")
        raise KeyboardInterrupt
    assert capfd.readouterr().err == ""


class Unread:
    """Unpickling waits for a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return wait_for, (self._file,)


def result_larger_than_a_pipe(started: Path) -> bytes:
    started.touch()
    return bytes(1 << 20)


def test_no_thread_waits_for_an_incomplete_result(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), worker_pool(2) as pool:
        pool.submit(Unread, tmp_path / "read")
        pool.submit(result_larger_than_a_pipe, tmp_path / "started")
        wait_for(tmp_path / "started")
        time.sleep(0.2)
        raise KeyboardInterrupt
    (tmp_path / "read").touch()
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_a_worker_of_its_own() -> None:
    with worker_pool(1) as pool:
        pool.submit(kill_itself).result()


def test_a_killed_worker_fails_every_call(tmp_path: Path) -> None:
    with pytest.raises(WorkerKilled, match="a worker process was killed"), worker_pool(2) as pool:
        calls = [
            pool.submit(clean_up_slowly, tmp_path),
            pool.submit(kill_itself),
            pool.submit(abs, 1),
        ]
        for call in calls:
            with pytest.raises(WorkerKilled):
                call.result(timeout=60)
        pool.submit(abs, 1)
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_replaced_and_only_its_own_call_fails() -> None:
    remedy = "memory runs out; give it more memory, or lower --data.workers$"
    with worker_pool(1, replace_killed=True, fewer="--data.workers") as pool:
        killed, later = pool.submit(kill_itself), pool.submit(abs, -1)
        with pytest.raises(WorkerKilled, match=rf"was killed by signal 9 \(SIGKILL\).*{remedy}"):
            killed.result(timeout=60)
        assert later.result(timeout=60) == 1
    assert not multiprocessing.active_children()


def test_a_killed_worker_inside_a_call_fails_only_that_call() -> None:
    with worker_pool(1) as pool:
        with pytest.raises(TransientError, match="a worker process was killed") as failure:
            pool.submit(kill_a_worker_of_its_own).result()
        assert not isinstance(failure.value, WorkerKilled)
        assert pool.submit(abs, -1).result() == 1


class Unpicklable(Exception):
    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError


def raise_in_worker(error: type[Exception]) -> None:
    raise error("something\nwrong")


def test_errors_come_back_with_the_traceback_of_the_worker() -> None:
    with worker_pool(1) as pool:
        with pytest.raises(UsageError, match="wrong") as failure:
            pool.submit(raise_in_worker, UsageError).result()
        assert "in raise_in_worker" in str(failure.value.__cause__)
        with pytest.raises(Exception, match=r"^Unpicklable: something wrong$"):
            pool.submit(raise_in_worker, Unpicklable).result()
        with pytest.raises(AttributeError, match="lambda"):
            pool.submit(lambda: 1).result()
        assert pool.submit(abs, -1).result() == 1


def test_a_pool_starts_no_more_processes_than_calls() -> None:
    with worker_pool(3) as pool:
        pool.submit(abs, 1).result()
        assert len(multiprocessing.active_children()) == 1
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(abs, 1)
    assert not multiprocessing.active_children()

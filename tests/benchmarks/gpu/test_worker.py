"""A trial that ends or hangs is an error, and its process is gone."""

import time
from pathlib import Path

import pytest

from benchmarks.gpu.context import Context
from benchmarks.gpu.results import Results
from benchmarks.gpu.worker import Worker


def _context(folder: Path) -> Context:
    Results(folder / "results.json").create({})
    return Context("replay_and_trials", folder, folder, time.time() + 60, tiny=True)


def test_a_trial_that_does_not_answer_is_killed(tmp_path: Path) -> None:
    worker = Worker(_context(tmp_path), {}, "trial", "qc-fql")
    with pytest.raises(RuntimeError, match="does not answer within 0 s"), worker:
        worker.read(0.01)
    assert worker._process.returncode == -9


def test_a_trial_that_ends_is_an_error(tmp_path: Path) -> None:
    worker = Worker(_context(tmp_path), {"PYTHONHOME": "/nowhere"}, "trial", "qc-fql")
    with pytest.raises(RuntimeError, match="a trial ended with exit code 1"), worker:
        worker.read(20)

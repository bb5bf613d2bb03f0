"""A part records errors and shortages of time, and continues."""

import json
import time
from pathlib import Path

from benchmarks.gpu.context import Context, NotMeasured
from benchmarks.gpu.results import Results


def test_errors_count_and_shortages_do_not(tmp_path: Path) -> None:
    Results(tmp_path / "results.json").create({})
    context = Context("updates", tmp_path, tmp_path, time.time() + 5, tiny=False)
    with context.attempt("first"):
        context.require(60)
        raise AssertionError("not reached")
    with context.attempt("second"):
        raise NotMeasured("not measured: no such device")
    assert context.failures == 0
    with context.attempt("third", method="qc"):
        raise ValueError("wrong")
    assert context.failures == 1
    figures = json.loads((tmp_path / "results.json").read_text())["parts"]["updates"]["figures"]
    assert "left, needs 60 s" in figures[0]["value"]
    assert figures[1] == {"name": "second", "value": "not measured: no such device"}
    assert figures[2] == {"name": "third", "method": "qc", "value": "failed: ValueError: wrong"}

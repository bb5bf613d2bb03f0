"""The GPU kit records each part, also one that fails or takes too long, and goes on."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.environment import part_environment
from benchmarks.gpu.parts import Part
from benchmarks.gpu.results import Results
from benchmarks.gpu.runner import Runner

_REPOSITORY = Path(__file__).resolve().parents[3]


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    earlier = tmp_path / "results.json"
    earlier.write_text("{}")
    command = [sys.executable, "-m", "benchmarks.gpu", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "has results already" in done.stderr
    assert earlier.read_text() == "{}"


def _runner(tmp_path: Path) -> tuple[Runner, Results]:
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    results = Results(output / "results.json")
    results.create({})
    environment = part_environment(work, results)
    deadline = time.monotonic() + 600
    return Runner(output, work, environment, results, deadline=deadline, tiny=True), results


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_failing_part_is_recorded_and_the_next_one_runs(tmp_path: Path) -> None:
    runner, results = _runner(tmp_path)
    runner.run(Part("no-such-part", 300), scale=1)
    runner.run(Part("profile", 300), scale=1)
    parts = results.read()["parts"]
    assert parts["no-such-part"]["status"] == "failed"
    assert parts["no-such-part"]["exit-code"] == 2
    assert "invalid choice" in parts["no-such-part"]["last-line"]
    assert parts["profile"]["status"] == "passed"
    assert not results.all_passed()


def test_a_part_that_exceeds_its_limit_is_stopped(tmp_path: Path) -> None:
    runner, results = _runner(tmp_path)
    # The quickstart takes longer than the shortest limit.
    runner.run(Part("quickstart", 8), scale=1)
    runner.run(Part("profile", 1), scale=1)
    parts = results.read()["parts"]
    assert parts["quickstart"]["status"] == "timed out"
    assert parts["quickstart"]["seconds"] < 60
    # What it started is gone, so that its memory on a GPU is free.
    assert not [
        path
        for path in Path("/proc").glob("[0-9]*/environ")
        if str(tmp_path).encode() in _content(path)
    ]
    assert parts["profile"] == {
        "status": "skipped",
        "figures": [],
        "reason": "no time is left",
    }

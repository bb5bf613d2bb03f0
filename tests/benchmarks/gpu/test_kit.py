"""The GPU kit runs end to end with tiny sizes, without a GPU and without network."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import predictions
from benchmarks.gpu.environment import part_environment
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.results import Results
from benchmarks.gpu.runner import Runner
from qc_core.provenance import git_commit

_REPOSITORY = Path(__file__).resolve().parents[3]
_REHEARSAL = _REPOSITORY / "runs" / "gpu-rehearsal"
# Brought back from a machine: few files, of limited size, at most two folders down.
_MAXIMUM_FILES, _MAXIMUM_BYTES = 8, 16 * 2**20


@pytest.fixture(scope="module")
def rehearsal() -> dict[str, Any]:
    """Results of `make gpu-rehearsal`, which uses the GPU machine's versions and no network.

    It takes minutes and several GB, so `.ci/run` starts it once and other machines may lack it.
    """
    path = _REHEARSAL / "results.json"
    if not path.exists():
        pytest.skip("no results: run `make gpu-rehearsal`")
    results = json.loads(path.read_text())
    if results["hardware"]["git-commit"] != git_commit():
        pytest.skip("the results are of another commit: run `make gpu-rehearsal`")
    return results


def test_every_part_passes(rehearsal: dict[str, Any]) -> None:
    assert {name: part["status"] for name, part in rehearsal["parts"].items()} == dict.fromkeys(
        PARTS, "passed"
    )
    assert [*rehearsal["parts"]] == [*PARTS]
    assert all(part["figures"] for part in rehearsal["parts"].values())


def test_rehearsal_has_the_versions_of_the_gpu_machine(rehearsal: dict[str, Any]) -> None:
    required = (_REPOSITORY / "benchmarks/gpu/rehearsal.txt").read_text()
    pinned = dict(line.split("==") for line in required.splitlines() if "==" in line)
    versions = rehearsal["hardware"]["versions"]
    for package in ("torch", "numpy", "onnx", "onnxruntime"):
        assert versions[package].split("+")[0] == pinned[package]


def test_no_part_uses_the_network(rehearsal: dict[str, Any]) -> None:
    assert rehearsal["network-attempts"] == []


def test_parts_give_their_figures_the_labels_of_the_predictions(rehearsal: dict[str, Any]) -> None:
    figures = [f for part in rehearsal["parts"].values() for f in part["figures"]]
    found = {(f["name"], frozenset(f) - {"name", "value"}) for f in figures}
    # Operations are counted for the full sizes only, so tiny ones have no ceilings.
    missing = ("ceiling updates/s", "share of ceiling")
    for figure in predictions.read():
        name, labels = figure["name"], frozenset(figure) - {"part", "name", "value"}
        # Nothing is recorded in a CUDA graph here; the profiler counts operations.
        assert name in missing or (name, labels) in found, (name, labels)


def test_results_are_few_and_small(rehearsal: dict[str, Any]) -> None:
    files = [path for path in _REHEARSAL.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"results.json", "summary.md", "logs.txt"}
    assert len(files) <= _MAXIMUM_FILES
    assert all(path.stat().st_size < _MAXIMUM_BYTES for path in files)


def test_summary_shows_status_and_what_is_not_measured(rehearsal: dict[str, Any]) -> None:
    text = (_REHEARSAL / "summary.md").read_text()
    assert "| correctness | passed |" in text
    assert "not measured: onnxruntime has no CUDA provider" in text
    assert "GPUs: none here" in text


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

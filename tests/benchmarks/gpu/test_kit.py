"""The GPU kit runs end to end with tiny sizes, without a GPU and without network."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu.environment import part_environment
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.results import Results
from benchmarks.gpu.runner import Runner

_REPOSITORY = Path(__file__).resolve().parents[3]
# Brought back from a machine: few files, of limited size, at most two folders down.
_MAXIMUM_FILES, _MAXIMUM_BYTES = 8, 16 * 2**20


def _kit(output: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.gpu", "--tiny", "--output", str(output)),
        # Other tests may keep the processor busy.
        *("--minutes", "40", "--work", str(output.parent / "work"), *words),
    ]


def _without_network(command: list[str]) -> list[str]:
    """The command in a network namespace of its own, where that is permitted."""
    isolated = ["unshare", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"]).returncode:
        return command
    return [*isolated, *command]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Warnings are no errors of the kit.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("kit") / "output"
    done = _run(_without_network(_kit(output)))
    log = output / "logs.txt"
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + log.read_text()[-3000:]
    return output


def test_every_part_passes(kit: Path) -> None:
    results = json.loads((kit / "results.json").read_text())
    assert {name: part["status"] for name, part in results["parts"].items()} == dict.fromkeys(
        PARTS, "passed"
    )
    assert [*results["parts"]] == [*PARTS]
    assert all(part["figures"] for part in results["parts"].values())
    assert results["hardware"]["versions"]["torch"]


def test_no_part_uses_the_network(kit: Path) -> None:
    results = json.loads((kit / "results.json").read_text())
    assert results["network-attempts"] == []


def test_results_are_few_and_small(kit: Path) -> None:
    files = [path for path in kit.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"results.json", "summary.md", "logs.txt"}
    assert len(files) <= _MAXIMUM_FILES
    assert all(path.stat().st_size < _MAXIMUM_BYTES for path in files)


def test_summary_shows_status_and_what_is_not_measured(kit: Path) -> None:
    text = (kit / "summary.md").read_text()
    assert "| correctness | passed |" in text
    assert "not measured: onnxruntime has no CUDA provider" in text
    assert "GPUs: none here" in text


def test_results_are_not_overwritten(kit: Path) -> None:
    before = (kit / "results.json").read_bytes()
    done = _run(_kit(kit))
    assert done.returncode == 2 and "has results already" in done.stderr
    assert (kit / "results.json").read_bytes() == before


def test_a_failing_part_is_recorded_and_the_next_one_runs(tmp_path: Path) -> None:
    output = tmp_path / "output"
    # The part finds a file where its folder must be.
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "dataset").write_text("not a folder")
    done = _run(_kit(output, "--parts", "profile", "inference"))
    assert done.returncode == 1
    parts = json.loads((output / "results.json").read_text())["parts"]
    assert parts["profile"]["status"] == "failed"
    assert parts["profile"]["exit-code"] == 1
    assert parts["profile"]["last-line"]
    assert parts["inference"]["status"] == "passed"


def test_a_part_that_exceeds_its_limit_is_stopped(tmp_path: Path) -> None:
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    results = Results(output / "results.json")
    results.create({})
    environment = part_environment(work, results)
    deadline = time.monotonic() + 600
    runner = Runner(output, work, environment, results, deadline=deadline, tiny=True)
    # The quickstart takes longer than the shortest limit.
    runner.run(Part("quickstart", 8), scale=1)
    runner.run(Part("profile", 1), scale=1)
    parts = results.read()["parts"]
    assert parts["quickstart"]["status"] == "timed out"
    assert parts["quickstart"]["seconds"] < 60
    assert parts["profile"] == {
        "status": "skipped",
        "figures": [],
        "reason": "no time is left",
    }

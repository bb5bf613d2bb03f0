"""The GPU kit runs end to end with tiny sizes, without a GPU and without network.

`make gpu-rehearsal` runs these tests on its results, with the versions of the GPU machine. They are
not part of `make test`, because a rehearsal takes minutes and several GB.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import predictions
from benchmarks.gpu.parts import PARTS

_REPOSITORY = Path(__file__).resolve().parents[3]
_REHEARSAL = _REPOSITORY / "runs" / "gpu-rehearsal"
# Brought back from a machine: few files, of limited size, at most two folders down.
_MAXIMUM_FILES, _MAXIMUM_BYTES = 8, 16 * 2**20


@pytest.fixture(scope="module")
def rehearsal() -> dict[str, Any]:
    return json.loads((_REHEARSAL / "results.json").read_text())


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


def test_results_are_few_and_small() -> None:
    files = [path for path in _REHEARSAL.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"results.json", "summary.md", "logs.txt"}
    assert len(files) <= _MAXIMUM_FILES
    assert all(path.stat().st_size < _MAXIMUM_BYTES for path in files)


def test_summary_shows_status_and_what_is_not_measured() -> None:
    text = (_REHEARSAL / "summary.md").read_text()
    assert "| correctness | passed |" in text
    assert "not measured: onnxruntime has no CUDA provider" in text
    assert "GPUs: none here" in text

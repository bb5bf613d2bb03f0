"""The parts measure what is predicted, the most valuable first."""

import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import product
from benchmarks.gpu.__main__ import part_scale
from benchmarks.gpu.context import Context
from benchmarks.gpu.graph_nodes import RecordedGraphs
from benchmarks.gpu.parts import PARTS, updates
from benchmarks.gpu.parts.profile import busy_time
from benchmarks.gpu.parts.updates import Case, cases
from benchmarks.gpu.results import Results
from benchmarks.gpu.sizes import FULL


def test_every_case_is_measured_once_and_the_reference_first() -> None:
    found = [*cases(FULL)]
    plain = [case[:3] for case in found if not case.with_jax]
    assert sorted(plain) == sorted(
        (method, network, batch)
        for method in product.METHODS
        for network in FULL.networks
        for batch in FULL.batches
    )
    assert found[:2] == [Case("qc-fql", "4x512", 256), Case("qc", "4x512", 256)]
    # A compilation that hangs loses no method at the reference size.
    first_jax = next(i for i, case in enumerate(found) if case.with_jax)
    assert {case.method for case in found[:first_jax]} == {*product.METHODS}
    assert found[first_jax] == Case("qc-fql", "4x512", 256, with_jax=True)


def test_what_cannot_run_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Training(product.Training):
        def run(self, count: int) -> dict[str, torch.Tensor]:
            if self._kind == product.FLOAT32:
                raise RuntimeError("it cannot be recorded")
            return super().run(count)

    monkeypatch.setattr(product, "Training", Training)
    Results(tmp_path / "results.json").create({})
    context = Context("updates", tmp_path, tmp_path, time.time() + 60, tiny=True)
    case, labels = Case("qc-fql", "2x16", 8), {"method": "qc-fql", "network": "2x16", "batch": 8}
    updates._measure(context, context.dataset(), None, case, labels)
    found = {f["kernels"]: f["value"] for f in context.results.figures("updates") if "kernels" in f}
    assert found["float32"] == "failed: RuntimeError: it cannot be recorded"
    assert found["eager float32"] > 0 and found["bfloat16"] > 0
    assert context.failures == 1


def test_selected_parts_share_all_of_the_time() -> None:
    assert part_scale(12, [*PARTS.values()]) == 1
    two = [PARTS["updates"], PARTS["profile"]]
    assert sum(part_scale(5, two) * part.seconds for part in two) == 5 * 60 - 30


def test_kernels_side_by_side_count_once() -> None:
    assert busy_time([]) == 0
    assert busy_time([(4, 6), (0, 2), (1, 3), (1, 2)]) == 5


def test_without_a_gpu_no_graph_is_recorded() -> None:
    with RecordedGraphs() as recorded:
        pass
    assert recorded.launches() is None

"""The parts measure what is predicted, the most valuable first."""

import pytest
import torch

from benchmarks.gpu import product
from benchmarks.gpu.__main__ import part_scale
from benchmarks.gpu.graph_nodes import RecordedGraphs
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.parts.correctness import use_one_stream
from benchmarks.gpu.parts.profile import busy_time
from benchmarks.gpu.parts.updates import Case, cases
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


@pytest.mark.parametrize("method", ["qc", "bfn", "qc-fql"])
def test_one_stream_computes_the_same_parts_as_several(method: str) -> None:
    agent = product.new_agent(product.config(method, (16, 16), 256), torch.device("cpu"))
    product.use_cuda_kernels(agent, product.BFLOAT16)

    def parts() -> list[int]:
        found: list[int] = []
        with torch.no_grad(), product.kernels.using(agent.kernels):
            product.kernels.in_parts(
                lambda rows: (found.append(len(rows)), rows)[1],
                torch.zeros(256),
                rows_each=product.num_samples(method),
            )
        return found

    side_by_side = parts()
    use_one_stream(agent, method, 256)
    assert not agent.kernels.streams
    assert parts() == side_by_side

"""The parts measure what is predicted, the most valuable first."""

from benchmarks.gpu import product
from benchmarks.gpu.__main__ import part_scale
from benchmarks.gpu.graph_nodes import RecordedGraphs
from benchmarks.gpu.parts import PARTS
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

"""Predictions are committed, complete, and follow from the counted operations."""

from pathlib import Path

import torch

from benchmarks.gpu import counting, predictions, product
from benchmarks.gpu.sizes import FULL


def test_every_update_rate_is_predicted() -> None:
    figures = predictions.read()
    for method in product.METHODS:
        for network in FULL.networks:
            for batch in FULL.batches:
                for kind in product.KINDS:
                    labels = {"network": network, "batch": batch, "kernels": kind}
                    assert predictions._value(
                        figures, part="updates", name="updates/s", method=method, **labels
                    ), (
                        method,
                        labels,
                    )


def test_operations_of_a_larger_batch_are_extrapolated(tmp_path: Path) -> None:
    counted = counting.count_update("qc-fql", (32, 32), product.FLOAT32, tmp_path)
    small, larger = counted
    assert counting.at_batch(counted, counting.SMALL_BATCHES[0]) == small
    assert counting.at_batch(counted, counting.SMALL_BATCHES[1]) == larger
    # Products of the hidden layers: rows grow with the batch.
    flop = [sum(o.flop for o in counting.at_batch(counted, batch)) for batch in (64, 128)]
    assert 1.9 < flop[1] / flop[0] <= 2.0


def test_tables_say_that_nothing_is_measured() -> None:
    text = predictions.tables(predictions.read())
    rows = [line for line in text.splitlines() if line.startswith("| qc-fql | 4x512 | 256 |")]
    assert len(rows) == 1 and "2,500" in rows[0] and rows[0].endswith("not measured |")


def test_of_branches_that_run_at_the_same_time_the_longest_counts() -> None:
    def operation(kernels: int, *branches: tuple[int, int]) -> counting.Operation:
        return counting.Operation("add", kernels, 0.0, 0.0, 0.0, 0.0, False, branches)

    operations = [
        operation(1),
        operation(2, (0, 0)),
        operation(3, (0, 1)),
        # The second branch forks, joins and continues.
        operation(5, (0, 1), (1, 0)),
        operation(4, (0, 1), (1, 1)),
        operation(1, (0, 1)),
        operation(7, (0, 2)),
        operation(1),
        operation(2, (2, 0)),
        operation(1, (2, 1)),
    ]
    totals = counting.totals(operations)
    assert totals["launches"] == 27
    assert totals["launches in sequence"] == 1 + (3 + 5 + 1) + 1 + 2


def test_a_gpu_copies_the_bias_of_a_batched_product_first() -> None:
    bias, x, weight = torch.zeros(2, 1, 5), torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)
    with counting._Counter() as counter:
        torch.baddbmm(bias, x, weight)
    copied, multiplied = counter.operations
    assert (copied.kernels, copied.bytes, copied.flop) == (1, 2 * 4 * 2 * 3 * 5, 0)
    assert (multiplied.kernels, multiplied.flop) == (1, 2 * 2 * 3 * 4 * 5)


def test_a_gpu_runs_the_losses_of_an_update_at_the_same_time(tmp_path: Path) -> None:
    operations, _ = counting.count_update("qc-fql", (32, 32, 32), product.BFLOAT16, tmp_path)
    totals = counting.totals(operations)
    assert totals["launches in sequence"] < 0.6 * totals["launches"]
    eager, _ = counting.count_update("qc-fql", (32, 32, 32), product.EAGER, tmp_path)
    assert counting.totals(eager)["launches in sequence"] == counting.totals(eager)["launches"]

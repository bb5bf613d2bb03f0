"""Predictions are committed, complete, and follow from the counted operations."""

from pathlib import Path

from benchmarks.gpu import counting, predictions, product
from benchmarks.gpu.sizes import FULL


def test_every_update_rate_is_predicted() -> None:
    figures = predictions.read()
    for method in product.METHODS:
        for network in FULL.networks:
            for batch in FULL.batches:
                for kind in product.KINDS:
                    labels = {"network": network, "batch": batch, "kernels": kind}
                    assert predictions._value(figures, part="updates", method=method, **labels), (
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

"""The summary sets measurements next to predictions."""

from typing import Any

from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.summary import headline, summary

_LABELS = {"method": "qc", "network": "4x512", "batch": 256, "kernels": "bfloat16"}


def _results(*figures: dict[str, Any]) -> dict[str, Any]:
    part = {"status": "failed", "seconds": 9.0, "last-line": "out of memory", "figures": figures}
    return {"parts": {"updates": part}}


def test_measurement_prediction_and_ratio_share_a_row() -> None:
    figure = {"name": "updates/s", **_LABELS}
    predicted = [
        {"part": "updates", **figure, "value": 500.0},
        {"part": "updates", **figure, "batch": 1024, "value": 200.0},
    ]
    text = summary(_results({**figure, "value": 1000.0}), predicted)
    assert "method=qc network=4x512 | 1000.0 | 500.0 | 2.00 |" in text
    assert "1 of 2 predicted figures are not measured." in text
    assert "| updates | failed | 9.0 | out of memory |" in text
    assert "1000.0" in headline(text)


def test_a_measurement_that_failed_has_no_ratio() -> None:
    figure = {"name": "updates/s", **_LABELS, "value": "failed: RuntimeError: no memory"}
    predicted = [{"part": "updates", **figure, "value": 500.0}]
    text = summary(_results(figure), predicted)
    assert "| failed: RuntimeError: no memory | 500.0 |  |" in text
    assert "1 of 1 predicted figures are not measured." in text


def test_ceiling_is_the_longest_of_launches_bytes_and_products() -> None:
    ceilings = Ceilings(bandwidth=1e12, product_rates={"bfloat16": 1e14}, launch=1e-6)
    counts = {"launches": 500.0, "bytes": 1e9, "flop": 1e10}
    assert round(ceilings.updates_per_second(counts, "bfloat16")) == 1000
    assert round(ceilings.updates_per_second({**counts, "bytes": 0}, "bfloat16")) == 2000

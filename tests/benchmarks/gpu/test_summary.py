"""The summary sets measurements next to predictions."""

from typing import Any

import pytest

from benchmarks.gpu import predictions, product
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.parts import inference, updates
from benchmarks.gpu.results import Figure
from benchmarks.gpu.sizes import FULL
from benchmarks.gpu.summary import by_labels, headline, summary

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
    assert "1 of 2 predicted figures are not measured:" in text
    assert "batch=1024 kernels=bfloat16 method=qc network=4x512 | not measured | 200.0 |" in text
    assert "| updates | failed | 9.0 | out of memory |" in text
    assert "1000.0" in headline(text)


def test_a_measurement_that_failed_has_no_ratio() -> None:
    figure = {"name": "updates/s", **_LABELS, "value": "failed: RuntimeError: no memory"}
    predicted = [{"part": "updates", **figure, "value": 500.0}]
    text = summary(_results(figure), predicted)
    assert "| failed: RuntimeError: no memory | 500.0 |  |" in text
    assert "1 of 1 predicted figures are not measured:" in text


def _every_figure() -> dict[str, Any]:
    """Results in which each measurement is there, by the labels that the parts give it."""
    figures: dict[str, list[Figure]] = {name: [] for name in ("updates", "trials", "inference")}
    for method, network, batch, with_jax in updates.cases(FULL):
        labels = {"method": method, "network": network, "batch": batch}
        kinds = ["JAX float32", "JAX bfloat16"] if with_jax else [*product.KINDS]
        is_reference = (network, batch) == ("4x512", FULL.batches[0])
        if with_jax:
            figures["updates"].append({"name": "times JAX", **labels, "target": 1.5})
            kinds += [f"{kind}, scan" for kind in kinds if is_reference]
        else:
            figures["updates"].append({"name": "times plain eager", **labels})
            figures["updates"] += [
                {"name": name, **labels, "kernels": kind}
                for name in ("ceiling updates/s", "share of ceiling")
                for kind in (product.FLOAT32, product.BFLOAT16)
            ]
        figures["updates"] += [{"name": "updates/s", **labels, "kernels": kind} for kind in kinds]
        if batch == FULL.batches[0]:
            case = {"method": method, "network": network, "kernels": product.BFLOAT16}
            figures["updates"].append({"name": "launches per update", **case})
    figures["updates"].append({"name": "copy bandwidth TB/s"})
    figures["updates"] += [{"name": "launch us", "how": how} for how in ("eager", "CUDA graph")]
    figures["updates"] += [
        {"name": "product rate TFLOP/s", "shape": shape, "kernels": kind}
        for shape in ("large", "256x512x512", "8192x512x512")
        for kind in (product.FLOAT32, product.BFLOAT16)
    ]
    for state in ("off", "on"):
        figures["trials"].append({"name": "memory per process GB", "mps": state})
        for trials in FULL.trials:
            figures["trials"] += [
                {"name": name, "trials": trials, "mps": state}
                for name in ("total updates/s", "updates/s of the slowest")
            ]
    for replay in ("device", "host"):
        for method in ("qc", "qc-fql"):
            labels = {"replay": replay, "method": method, "network": "4x512"}
            figures["trials"].append({"name": "updates/s", **labels})
    providers = [("cuda", 1), ("cpu", 1), ("cpu", 8)]
    for batch, method, provider, threads in inference.rows(FULL, [*product.METHODS], providers):
        labels = {"method": method, "network": "4x512", "batch": batch}
        labels |= {"provider": provider, "threads": threads}
        figures["inference"] += [{"name": f"p{share} ms", **labels} for share in (50, 99)]
    parts = {
        name: {"status": "passed", "seconds": 1.0, "figures": [{**f, "value": 2.0} for f in found]}
        for name, found in figures.items()
    }
    return {"parts": parts}


def test_every_prediction_has_a_measurement() -> None:
    predicted = predictions.read()
    # No two predictions are of the same figure.
    assert len(by_labels(predicted)) == len(predicted) > 300
    text = summary(_every_figure(), predicted)
    assert "not measured" not in text
    rows = [line.split("|") for line in text.splitlines() if "|" in line and "=" in line]
    ratios = [row[4].strip() for row in rows]
    assert all(ratios)
    (row,) = [row for row in rows if row[1].strip() == "total updates/s mps=on trials=8"]
    assert float(row[4]) == pytest.approx(2 / float(row[3]), abs=0.006)


def test_the_summary_says_which_code_and_which_driver_was_measured() -> None:
    hardware = {"gpus": ["NVIDIA H200"], "nvidia-smi": "driver 580", "git-commit": "unknown"}
    head = {"hardware": hardware, "source-sha256": "0123abcd"}
    text = summary({**head, **_results()}, [])
    assert "- GPUs: NVIDIA H200" in text and "- driver: driver 580" in text
    assert "- source (SHA-256): 0123abcd" in text


def test_ceiling_is_the_longest_of_launches_bytes_and_products() -> None:
    ceilings = Ceilings(bandwidth=1e12, product_rates={"bfloat16": 1e14}, launch=1e-6)
    counts = {"launches": 9e9, "launches in sequence": 500.0, "bytes": 1e9, "flop": 1e10}
    assert round(ceilings.updates_per_second(counts, "bfloat16")) == 1000
    assert round(ceilings.updates_per_second({**counts, "bytes": 0}, "bfloat16")) == 2000

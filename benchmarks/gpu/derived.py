"""Predictions that follow from other predictions: the device's ceilings, shares and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.gpu import product
from benchmarks.gpu.ceilings import LARGE, SHAPES, WIDTH, Ceilings
from benchmarks.gpu.results import Figure
from benchmarks.gpu.sizes import FULL

_PART = "updates"
_FAST = (product.FLOAT32, product.BFLOAT16)
Add = Callable[..., None]


def add_ceilings(
    add: Add, device: Ceilings, host_launch: float, seconds: Callable[[int, str], float]
) -> None:
    """What the part measures of the device itself.

    Args:
        host_launch: seconds of the host per kernel without a CUDA graph.
        seconds: of a product of so many rows with a square matrix of 512, by precision.
    """
    add(_PART, "copy bandwidth TB/s", device.bandwidth / 1e12)
    for precision, rate in device.product_rates.items():
        add(_PART, "product rate TFLOP/s", rate / 1e12, shape=LARGE, kernels=precision)
        for rows in SHAPES:
            # The products are not in a graph, so the host's launches limit the small ones.
            slowest = max(host_launch, seconds(rows, precision))
            labels = {"shape": f"{rows}x{WIDTH}x{WIDTH}", "kernels": precision}
            add(_PART, "product rate TFLOP/s", 2 * rows * WIDTH**2 / slowest / 1e12, **labels)
    add(_PART, "launch us", host_launch * 1e6, how="eager")
    add(_PART, "launch us", device.launch * 1e6, how="CUDA graph")


def add_comparisons(
    add: Add, figures: Sequence[Figure], device: Ceilings, counts: Callable[..., dict[str, float]]
) -> None:
    """Rates against the device's ceiling, plain eager torch and JAX."""
    for labels, rates in _rates(figures):
        fast = {kind: rates[kind] for kind in _FAST}
        for kind, rate in fast.items():
            ceiling = device.updates_per_second(counts(**labels, kernels=kind), kind)
            add(_PART, "ceiling updates/s", ceiling, **labels, kernels=kind)
            add(_PART, "share of ceiling", rate / ceiling, **labels, kernels=kind)
        best = max(fast.values())
        add(_PART, "times plain eager", best / rates[product.EAGER], **labels)
        jax = [rate for kind, rate in rates.items() if kind.startswith("JAX")]
        if jax:
            add(_PART, "times JAX", best / max(jax), **labels, target=1.5)


def _rates(figures: Sequence[Figure]) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Updates per second of each case by what computes them."""
    for method in product.METHODS:
        for network in FULL.networks:
            for batch in FULL.batches:
                labels = {"method": method, "network": network, "batch": batch}
                case = {"part": _PART, "name": "updates/s", **labels}
                yield (
                    labels,
                    {
                        figure["kernels"]: figure["value"]
                        for figure in figures
                        if case.items() <= figure.items()
                    },
                )

"""Predicts the figures of parts updates, replay_and_trials and inference for an NVIDIA H200.

The predictions are arithmetic on launches, bytes and FLOP, made before anything is measured, so
that the first measurement confirms or refutes them. `predictions.json` holds them; the summary
prints measurements next to them.

    python3 -m benchmarks.gpu.predictions            # print the tables, in Markdown
    python3 -m benchmarks.gpu.predictions --write    # count again and write predictions.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import ceilings, counting, derived, product
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.counting import Operation
from benchmarks.gpu.results import Figure
from benchmarks.gpu.sizes import FULL

FILE = Path(__file__).resolve().parent / "predictions.json"

# Assumptions about the device
COPY_BANDWIDTH = 4.3e12  # bytes/s, read plus written; the datasheet's peak is 4.8e12
BFLOAT16_RATE, FLOAT32_RATE = 790e12, 67e12  # FLOP/s of large matrix products
MULTIPROCESSORS = 132
# A product's output is divided into tiles of 64 x 64, one multiprocessor each.
TILE = 64
# Each kernel of a CUDA graph waits for the one before it, and a small kernel takes a minimum time.
GRAPH_LAUNCH, MINIMUM_KERNEL = 1.0e-6, 1.5e-6
# Kernels of different branches start one after the other.
KERNEL_START = 0.7e-6
# Host time per operation of eager torch: the launch (3 us), dispatch and autograd (2 us).
EAGER_OPERATION = 5.0e-6
# JAX: per product one kernel and one fusion around it; sampling, noise and Adam add these.
JAX_KERNELS_PER_PRODUCT, JAX_OTHER_KERNELS = 2, 60
# Assumptions about the host
HOST_SAMPLING = 0.5e-3  # seconds for 256 windows
HOST_COPIES, HOST_COPY = 7, 20e-6  # pinned copies per batch, seconds each
CONTEXT_BYTES, DATA_BYTES, POOL_BYTES = 0.6e9, 0.2e9, 0.5e9  # of one training process
# onnxruntime
CUDA_NODE, CUDA_CALL = 3.5e-6, 30e-6  # per node; copies and synchronisation per call
CPU_NODE, CPU_CALL = 1.5e-6, 20e-6
CPU_RATE, CPU_BANDWIDTH = 60e9, 30e9  # FLOP/s and bytes/s of one core
CPU_SCALING = 0.6  # efficiency of several threads
P99_FACTOR = 1.5

# What an update does, for ceilings from measured rates; no prediction.
COUNTS = "counts"
TARGETS = {("qc", "4x512"): 1500.0, ("qc-fql", "4x512"): 2500.0}
TARGET_TIMES_JAX = 1.5


def kernel_seconds(operation: Operation) -> float:
    """The time of one operation on the device: the largest of its lower bounds."""
    busy = max(operation.bytes / COPY_BANDWIDTH, operation.kernels * MINIMUM_KERNEL)
    if operation.flop:
        tiles = -(-operation.rows // TILE) * -(-operation.columns // TILE)
        rate = BFLOAT16_RATE if operation.bfloat16 else FLOAT32_RATE
        busy = max(busy, operation.flop / (rate * min(1.0, tiles / MULTIPROCESSORS)))
    return busy


def graph_seconds(operations: Sequence[Operation]) -> float:
    """An update in a CUDA graph: the longest of its lower bounds.

    The longest chain of kernels, the start of all kernels, and what a busy device takes.
    """
    chain = counting.along_branches(
        operations, lambda o: kernel_seconds(o) + o.kernels * GRAPH_LAUNCH
    )
    starts = sum(o.kernels for o in operations) * KERNEL_START
    return max(chain, starts, busy_seconds(operations))


def eager_seconds(operations: Sequence[Operation]) -> float:
    """An eager update: the host's time or the device's, whichever is longer."""
    host = sum(o.kernels for o in operations) * EAGER_OPERATION
    return max(host, graph_seconds(operations))


def jax_seconds(operations: Sequence[Operation]) -> float:
    """A jitted update: products as counted for torch, everything else fused around them."""
    products = [o for o in operations if o.flop]
    kernels = JAX_KERNELS_PER_PRODUCT * len(products) + JAX_OTHER_KERNELS
    others = (kernels - len(products)) * MINIMUM_KERNEL
    return sum(map(kernel_seconds, products)) + others + kernels * GRAPH_LAUNCH


def busy_seconds(operations: Sequence[Operation]) -> float:
    """What an update takes if all multiprocessors are busy all the time."""
    return sum(
        max(
            o.bytes / COPY_BANDWIDTH,
            o.flop / (BFLOAT16_RATE if o.bfloat16 else FLOAT32_RATE),
        )
        for o in operations
    )


def update_figures(scratch: Path) -> list[Figure]:
    """Part updates: rates of every method; part replay_and_trials for the reference case."""
    figures: list[Figure] = []

    def add(part: str, name: str, value: float, **labels: Any) -> None:
        figures.append({"part": part, "name": name, **labels, "value": float(f"{value:.3g}")})

    for method in product.METHODS:
        for network, hidden_dims in FULL.networks.items():
            for kind in product.KINDS:
                counted = counting.count_update(method, hidden_dims, kind, scratch)
                for batch in FULL.batches:
                    operations = counting.at_batch(counted, batch)
                    labels: dict[str, Any] = {
                        "method": method,
                        "network": network,
                        "batch": batch,
                        "kernels": kind,
                    }
                    time = eager_seconds if kind == product.EAGER else graph_seconds
                    add("updates", "updates/s", 1 / time(operations), **labels)
                    for name, value in counting.totals(operations).items():
                        add(COUNTS, name, value, **labels)
                    if method == "qc-fql" and kind != product.EAGER:
                        labels["kernels"] = f"JAX {kind}"
                        add("updates", "updates/s", 1 / jax_seconds(operations), **labels)
                        if (network, batch) == (next(iter(FULL.networks)), FULL.batches[0]):
                            # Several updates in one call: JAX's time per call is not predicted.
                            labels["kernels"] += ", scan"
                            add("updates", "updates/s", 1 / jax_seconds(operations), **labels)
                    if batch != FULL.batches[0]:
                        continue
                    case = {"method": method, "network": network, "kernels": kind}
                    kernels = sum(o.kernels for o in operations)
                    if kind == product.BFLOAT16:
                        add("profile", "launches per update", kernels, **case)
                        if network == "4x512":
                            _add_trials(add, method, operations)
    device = Ceilings(
        COPY_BANDWIDTH,
        {product.BFLOAT16: BFLOAT16_RATE, product.FLOAT32: FLOAT32_RATE},
        GRAPH_LAUNCH + MINIMUM_KERNEL,
    )
    derived.add_ceilings(add, device, EAGER_OPERATION, _product_seconds)
    derived.add_comparisons(add, [*figures], device, partial(_counts, figures))
    return figures


def _product_seconds(rows: int, precision: str) -> float:
    is_bfloat16 = precision == product.BFLOAT16
    width, item = ceilings.WIDTH, 2 if is_bfloat16 else 4
    moved = item * (2 * rows * width + width**2)
    flop = 2.0 * rows * width**2
    return kernel_seconds(Operation("mm", 1, moved, flop, rows, width, is_bfloat16))


def _add_trials(add: Any, method: str, operations: Sequence[Operation]) -> None:
    if method not in ("qc", "qc-fql"):
        return
    single = 1 / graph_seconds(operations)
    host = HOST_SAMPLING + HOST_COPIES * HOST_COPY
    part = "replay_and_trials"
    case = {"method": method, "network": "4x512"}
    add(part, "updates/s", single, replay="device", **case)
    add(part, "updates/s", min(single, 1 / host), replay="host", **case)
    if method != "qc-fql":
        return
    busy = busy_seconds(operations) * single
    for trials in FULL.trials:
        for mps, total in (("off", single), ("on", single * min(trials, 1 / busy))):
            add(part, "total updates/s", total, trials=trials, mps=mps)
            add(part, "updates/s of the slowest", total / trials, trials=trials, mps=mps)
    memory = (CONTEXT_BYTES + DATA_BYTES + POOL_BYTES) / 1e9
    for mps in ("off", "on"):
        add(part, "memory per process GB", memory, mps=mps)


def policy_figures() -> list[Figure]:
    """Part inference: latencies by method and batch size."""
    figures: list[Figure] = []
    network, hidden_dims = next(iter(FULL.networks.items()))
    for method in product.METHODS:
        once, per_candidate, nodes, weights = _policy_work(method, hidden_dims)
        candidates = product.num_samples(method)
        for batch in FULL.policy_batches:
            flop = batch * (once + candidates * per_candidate)
            seconds = {("cuda", 1): nodes * CUDA_NODE + CUDA_CALL + flop / FLOAT32_RATE}
            for threads in (1, 8):
                speed = 1 if threads == 1 else 1 + CPU_SCALING * (threads - 1)
                seconds["cpu", threads] = (
                    nodes * CPU_NODE
                    + CPU_CALL
                    + max(flop / CPU_RATE, weights / CPU_BANDWIDTH) / speed
                )
            for (provider, threads), value in seconds.items():
                for name, factor in (("p50 ms", 1.0), ("p99 ms", P99_FACTOR)):
                    figures.append(
                        {
                            "part": "inference",
                            "name": name,
                            "method": method,
                            "network": network,
                            "batch": batch,
                            "provider": provider,
                            "threads": threads,
                            "value": float(f"{1e3 * factor * value:.3g}"),
                        }
                    )
    return figures


def _policy_work(method: str, hidden_dims: Sequence[int]) -> tuple[float, float, int, float]:
    """FLOP per observation and per candidate, nodes of the graph, and bytes of the weights."""
    width, layers = hidden_dims[0], len(hidden_dims)
    chunk = product.chunk_length(method) * product.ACTION
    hidden = 2.0 * (layers - 1) * width**2
    common = 8  # scaling, clipping and reshaping
    if product.num_samples(method) == 1:
        flop = 2.0 * (product.OBSERVATION + chunk) * width + hidden + 2.0 * width * chunk
        return flop, 0.0, 2 * layers + 1 + common, 2 * flop
    steps, critics = product.flow_steps(method), product.num_critics(method)
    once = (1 + critics) * 2.0 * product.OBSERVATION * width
    flow, critic = hidden + 4.0 * width * chunk, hidden + 2.0 * width * (chunk + 1)
    nodes = steps * (2 * layers + 5) + critics * (3 * layers + 3) + common
    weights = 2 * (once + flow + critics * critic)
    return once, steps * flow + critics * critic, nodes, weights


def read() -> list[Figure]:
    """The committed predictions, without the counts that they follow from."""
    return [figure for figure in _content() if figure["part"] != COUNTS]


def counts(**labels: Any) -> dict[str, float]:
    """Launches, bytes and FLOP of an update; empty if they were not counted."""
    return _counts(_content(), **labels)


def _counts(figures: Sequence[Figure], **labels: Any) -> dict[str, float]:
    wanted = {"part": COUNTS, **labels}
    return {
        figure["name"]: figure["value"] for figure in figures if wanted.items() <= figure.items()
    }


def _content() -> list[Figure]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def tables(figures: Sequence[Figure]) -> str:
    """The predictions in Markdown, with a column for measurements."""
    device = ("copy bandwidth TB/s", "product rate TFLOP/s", "launch us")
    return "\n\n".join(
        (
            _list_table([figure for figure in figures if figure["name"] in device]),
            _updates_table(figures),
            _list_table([f for f in figures if f["part"] == "replay_and_trials"]),
            _policies_table(figures),
        )
    )


def _value(figures: Sequence[Figure], **labels: Any) -> float | None:
    for figure in figures:
        if all(figure.get(key) == value for key, value in labels.items()):
            return figure["value"]
    return None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _updates_table(figures: Sequence[Figure]) -> str:
    kinds = (*product.KINDS, "JAX float32", "JAX bfloat16")
    columns = ("launches", *kinds, "ceiling", "of it", "× eager", "× JAX", "target", "measured")
    lines = [
        "| method | network | batch | " + " | ".join(columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for method in product.METHODS:
        for network in FULL.networks:
            launches = _value(figures, name="launches per update", method=method, network=network)
            for batch in FULL.batches:
                case = {"part": "updates", "method": method, "network": network, "batch": batch}
                fast = {**case, "kernels": product.BFLOAT16}
                share = _value(figures, name="share of ceiling", **fast)
                target = TARGETS.get((method, network)) if batch == FULL.batches[0] else None
                cells = [
                    _number(launches),
                    *(_number(_value(figures, name="updates/s", kernels=k, **case)) for k in kinds),
                    _number(_value(figures, name="ceiling updates/s", **fast)),
                    "–" if share is None else f"{share:.0%}",
                    _number(_value(figures, name="times plain eager", **case)),
                    _number(_value(figures, name="times JAX", **case)),
                    _number(target),
                    "not measured",
                ]
                lines.append(f"| {method} | {network} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _list_table(figures: Sequence[Figure]) -> str:
    lines = ["| what | predicted | measured |", "|---|---|---|"]
    for figure in figures:
        labels = ", ".join(
            f"{key} {value}"
            for key, value in figure.items()
            if key not in ("part", "name", "value")
        )
        name = f"{figure['name']}: {labels}" if labels else figure["name"]
        lines.append(f"| {name} | {_number(figure['value'])} | not measured |")
    return "\n".join(lines)


def _policies_table(figures: Sequence[Figure]) -> str:
    lines = [
        "| method | batch | CUDA | CPU, 1 thread | CPU, 8 threads | measured |",
        "|---|---|---|---|---|---|",
    ]
    columns = (("cuda", 1), ("cpu", 1), ("cpu", 8))
    for method in product.METHODS:
        for batch in FULL.policy_batches:
            case = {"part": "inference", "method": method, "batch": batch}
            values = [
                " / ".join(
                    _number(_value(figures, name=name, provider=p, threads=t, **case))
                    for name in ("p50 ms", "p99 ms")
                )
                for p, t in columns
            ]
            lines.append(f"| {method} | {batch} | " + " | ".join(values) + " | not measured |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="count again and write the file")
    options = parser.parse_args()
    if options.write:
        with tempfile.TemporaryDirectory(prefix="qc-gpu-") as scratch:
            figures = update_figures(Path(scratch)) + policy_figures()
        lines = ",\n".join(json.dumps(figure) for figure in figures)
        FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(tables(read()))


if __name__ == "__main__":
    main()

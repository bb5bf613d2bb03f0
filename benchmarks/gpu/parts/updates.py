"""How many updates per second: against plain torch, the device's ceiling, and JAX?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.gpu import ceilings, jax_inputs, predictions, product
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.context import Context, NotMeasured
from benchmarks.gpu.graph_nodes import RecordedGraphs
from benchmarks.gpu.sizes import Sizes, sizes
from benchmarks.gpu.timing import interleaved_rates

_REFERENCE_METHODS = ("qc-fql", "qc")
# Warm-up, graphs and compilation included.
_CASE_SECONDS, _JAX_SECONDS = 8.0, 45.0
# Eager updates, a graph of as many updates as a graph may have, and one of one update.
_WARM_UP = 3 + 16 + 1
# Updates in one JAX call, as many as the product records in one graph.
_SCANNED = 16


class Case(NamedTuple):
    """What is timed together, the alternatives in turn."""

    method: str
    network: str
    batch: int
    with_jax: bool = False


def run(context: Context) -> None:
    limits: Ceilings | None = None
    with context.attempt("ceilings"):
        limits = ceilings.measure(context.device, context.record, tiny=context.tiny)
    dataset = context.dataset()
    for case in cases(sizes(context.tiny)):
        what = "times JAX" if case.with_jax else "updates/s"
        labels = {"method": case.method, "network": case.network, "batch": case.batch}
        with context.attempt(what, **labels):
            context.require(_JAX_SECONDS if case.with_jax else _CASE_SECONDS)
            _measure(context, dataset, limits, case, labels)


def cases(size: Sizes) -> Iterator[Case]:
    """All cases, the most valuable first.

    JAX compiles for up to a minute, and a compilation cannot be stopped: it comes after the product
    has been measured at the reference size.
    """
    networks, batches = [*size.networks], size.batches
    others = [method for method in product.METHODS if method not in _REFERENCE_METHODS]
    reference, batch = networks[0], batches[0]
    yield from (Case(m, reference, batch) for m in (*_REFERENCE_METHODS, *others))
    yield Case("qc-fql", reference, batch, with_jax=True)
    yield from (Case(m, reference, b) for b in batches[1:] for m in _REFERENCE_METHODS)
    for network in networks[1:]:
        yield from (Case(m, network, batch) for m in _REFERENCE_METHODS)
        yield Case("qc-fql", network, batch, with_jax=True)
        yield from (Case(m, network, batch) for m in others)
    yield from (Case(m, reference, b) for b in batches[1:] for m in others)
    for network in networks[1:]:
        yield from (
            Case(m, network, b) for b in batches[1:] for m in (*_REFERENCE_METHODS, *others)
        )
    yield from (
        Case("qc-fql", network, b, with_jax=True) for b in batches[1:] for network in networks
    )


def _measure(
    context: Context, dataset: Any, limits: Ceilings | None, case: Case, labels: dict[str, Any]
) -> None:
    size = sizes(context.tiny)
    work: dict[str, Callable[[int], object]] = {}
    with contextlib.ExitStack() as opened:
        for kind in product.KINDS:
            # If one cannot run, the others are measured.
            with context.attempt("updates/s", **labels, kernels=kind):
                settings = product.config(case.method, size.networks[case.network], case.batch)
                training = product.Training(settings, dataset, context.device, kind)
                opened.callback(training.close)
                with RecordedGraphs() as recorded:
                    training.run(_WARM_UP)
                work[kind] = training.run
                if kind == product.BFLOAT16 and case.batch == size.batches[0]:
                    _record_launches(context, recorded, labels)
        if case.with_jax:
            work.update(_jax_work(context, dataset, case, labels))
        rates = interleaved_rates(
            work,
            context.device,
            turns=size.turns,
            seconds=size.turn_seconds,
            block=2 if context.tiny else 16,
        )
    fast = [rates[kind] for kind in (product.FLOAT32, product.BFLOAT16) if kind in rates]
    if case.with_jax:
        jax = {kind: rate for kind, rate in rates.items() if kind not in product.KINDS}
        for kind, rate in jax.items():
            context.record("updates/s", rate, **labels, kernels=kind)
        if fast and jax:
            context.record("times JAX", max(fast) / max(jax.values()), **labels, target=1.5)
        return
    for kind, rate in rates.items():
        context.record("updates/s", rate, **labels, kernels=kind)
        counts = predictions.counts(**labels, kernels=kind)
        if limits is not None and counts and kind != product.EAGER:
            ceiling = limits.updates_per_second(counts, kind)
            context.record("ceiling updates/s", ceiling, **labels, kernels=kind)
            context.record("share of ceiling", rate / ceiling, **labels, kernels=kind)
    if fast and product.EAGER in rates:
        context.record("times plain eager", max(fast) / rates[product.EAGER], **labels)


def _record_launches(context: Context, recorded: RecordedGraphs, labels: dict[str, Any]) -> None:
    """Record what a CUDA graph of one update contains; it is the same for every batch size."""
    case = {"method": labels["method"], "network": labels["network"], "kernels": product.BFLOAT16}
    with context.attempt("launches per update", **case):
        if (launches := recorded.launches()) is not None:
            context.record("launches per update", launches, **case)


def _jax_work(
    context: Context, dataset: Any, case: Case, labels: dict[str, Any]
) -> dict[str, Callable[[int], object]]:
    """The JAX update in both precisions, called once per update and scanned over several."""
    try:
        import jax  # pyright: ignore[reportMissingImports]

        from benchmarks.gpu import jax_update
    except ImportError as error:
        raise NotMeasured(f"not measured: {error}") from error
    # Without its plugin for CUDA, JAX computes on the CPU.
    backend = "gpu" if context.device.type == "cuda" else "cpu"
    if jax.default_backend() != backend:
        raise NotMeasured(f"not measured: JAX computes on the {jax.default_backend()}")
    size = sizes(context.tiny)
    settings = product.config(case.method, size.networks[case.network], case.batch)
    agent = product.new_agent(settings, context.device)
    networks = jax_inputs.network_arrays(agent)
    replay = {
        name: jax.numpy.asarray(values)
        for name, values in jax_inputs.replay_arrays(dataset, settings).items()
    }
    is_reference = (case.network, case.batch) == (next(iter(size.networks)), size.batches[0])
    variants = {
        (f"JAX {precision}" + (", scan" if updates > 1 else "")): (precision, updates)
        for updates in (1, _SCANNED)
        for precision in (product.FLOAT32, product.BFLOAT16)
        if updates == 1 or (is_reference and not context.tiny)
    }

    def compiled(variant: tuple[str, int]) -> _JaxRunner:
        precision, updates = variant
        constants = jax_update.Settings(batch=case.batch, bfloat16=precision == product.BFLOAT16)
        state = jax_update.initial_state(networks)
        step = jax_update.compiled(constants, updates).lower(state, replay).compile()
        return _JaxRunner(step, state, replay, updates)

    work: dict[str, Callable[[int], object]] = {}
    with ThreadPoolExecutor(len(variants)) as pool:
        steps = {name: pool.submit(compiled, variant) for name, variant in variants.items()}
        for name, step in steps.items():
            with context.attempt("updates/s", **labels, kernels=name):
                work[name] = step.result()
    return work


class _JaxRunner:
    """Runs a compiled JAX update; the state moves from call to call."""

    def __init__(self, step: Callable[..., Any], state: Any, replay: Any, updates: int) -> None:
        self._step, self._state, self._replay, self._updates = step, state, replay, updates

    def __call__(self, count: int) -> None:
        losses = None
        for _ in range(-(-count // self._updates)):
            self._state, losses = self._step(self._state, self._replay)
        if losses is not None:
            losses["critic/loss"].block_until_ready()

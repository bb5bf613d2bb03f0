"""How many updates per second: against plain torch, the device's ceiling, and JAX?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.gpu import ceilings, predictions, product
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.context import Context, NotMeasured
from benchmarks.gpu.sizes import Sizes, sizes
from benchmarks.gpu.timing import interleaved_rates

_REFERENCE_METHODS = ("qc", "qc-fql")
# Warm-up, graphs and compilation included.
_CASE_SECONDS, _JAX_SECONDS = 8.0, 45.0
# Updates in one JAX call, as many as the product records in one graph.
_SCANNED = 16


def run(context: Context) -> None:
    limits: Ceilings | None = None
    with context.attempt("ceilings"):
        limits = ceilings.measure(context.device, context.record, tiny=context.tiny)
    size = sizes(context.tiny)
    dataset = product.random_dataset(context.work / "dataset", size.transitions)
    for method, network, batch in cases(size):
        labels: dict[str, Any] = {"method": method, "network": network, "batch": batch}
        with context.attempt("updates/s", **labels):
            context.require(_CASE_SECONDS)
            _measure(context, dataset, limits, labels)


def cases(size: Sizes) -> Iterator[tuple[str, str, int]]:
    """Method, network and batch, the most valuable cases first."""
    networks, batches = [*size.networks], size.batches
    others = [method for method in product.METHODS if method not in _REFERENCE_METHODS]
    for network in networks:
        for method in _REFERENCE_METHODS[::-1]:
            yield method, network, batches[0]
    for network in networks:
        for method in others:
            yield method, network, batches[0]
    for batch in batches[1:]:
        for method in (*_REFERENCE_METHODS, *others):
            for network in networks:
                yield method, network, batch


def _measure(
    context: Context, dataset: Any, limits: Ceilings | None, labels: dict[str, Any]
) -> None:
    size = sizes(context.tiny)
    method, network, batch = labels["method"], labels["network"], labels["batch"]
    trainings, work = [], {}
    for kind in product.KINDS:
        settings = product.config(method, size.networks[network], batch)
        training = product.Training(settings, dataset, context.device, kind)
        trainings.append(training)
        work[kind] = training.run
    wants_jax = method == "qc-fql" and batch == size.batches[0]
    if wants_jax:
        work.update(_jax_work(context, dataset, labels))
    rates = interleaved_rates(
        work,
        context.device,
        turns=size.turns,
        seconds=size.turn_seconds,
        block=2 if context.tiny else 16,
    )
    for kind, rate in rates.items():
        context.record("updates/s", rate, **labels, kernels=kind)
        counts = predictions.counts(**labels, kernels=kind)
        if limits is not None and counts and kind != product.EAGER:
            ceiling = limits.updates_per_second(counts, kind)
            context.record("ceiling updates/s", ceiling, **labels, kernels=kind)
            context.record("share of ceiling", rate / ceiling, **labels, kernels=kind)
    best = max(rates[product.FLOAT32], rates[product.BFLOAT16])
    context.record("times plain eager", best / rates[product.EAGER], **labels)
    if jax := [rate for kind, rate in rates.items() if kind.startswith("JAX")]:
        context.record("times JAX", best / max(jax), **labels, target=1.5)
    for training in trainings:
        training.close()


def _jax_work(
    context: Context, dataset: Any, labels: dict[str, Any]
) -> dict[str, Callable[[int], object]]:
    """The JAX update in both precisions, called once per update and scanned over several."""
    try:
        context.require(_JAX_SECONDS)
        import jax  # pyright: ignore[reportMissingImports]

        from benchmarks.gpu import jax_update
    except ImportError as error:
        context.record("JAX", f"not measured: {error}", **labels)
        return {}
    except NotMeasured as shortage:
        context.record("JAX", str(shortage), **labels)
        return {}
    hidden_dims = sizes(context.tiny).networks[labels["network"]]
    settings = product.config(labels["method"], hidden_dims, labels["batch"])
    agent = product.new_agent(settings, context.device)
    networks = product.network_arrays(agent)
    replay = {
        name: jax.numpy.asarray(values)
        for name, values in product.replay_arrays(dataset, settings).items()
    }
    is_reference = labels["network"] == next(iter(sizes(context.tiny).networks))
    variants = {
        (f"JAX {precision}" + (", scan" if updates > 1 else "")): (precision, updates)
        for updates in (1, _SCANNED)
        for precision in (product.FLOAT32, product.BFLOAT16)
        if updates == 1 or (is_reference and not context.tiny)
    }

    def compiled(variant: tuple[str, int]) -> _JaxRunner:
        precision, updates = variant
        constants = jax_update.Settings(
            batch=labels["batch"], bfloat16=precision == product.BFLOAT16
        )
        state = jax_update.initial_state(networks)
        step = jax_update.compiled(constants, updates).lower(state, replay).compile()
        return _JaxRunner(step, state, replay, updates)

    with ThreadPoolExecutor(len(variants)) as pool:
        return dict(zip(variants, pool.map(compiled, variants.values()), strict=True))


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

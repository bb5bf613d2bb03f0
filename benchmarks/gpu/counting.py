"""Counts the kernels, bytes and operations of an update, by running it once on the CPU.

Every operation that launches a kernel on a GPU is recorded with the bytes it reads and writes and
the FLOP of its matrix product. Bytes and FLOP are linear in the batch size, so two small batches
give those of any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.gpu import product

# They return a view or allocate, and launch nothing.
_NO_KERNEL = {
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unsqueeze",
    "view",
}
# Kernels of operations that launch more than one.
_KERNELS = {"native_layer_norm_backward": 3, "randn": 1, "argmax": 1, "_fused_adam_": 3}
_SMALL_BATCHES = (8, 16)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: kernels, bytes moved, and its product's sizes (rows 0: no product)."""

    name: str
    kernels: int
    bytes: float
    flop: float
    rows: float
    columns: float
    bfloat16: bool


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name not in _NO_KERNEL:
            self.operations.append(_operation(name, args, kwargs or {}, result))
        return result


def _operation(name: str, args: Any, kwargs: Any, result: Any) -> Operation:
    tensors = [x for x in tree_flatten((args, kwargs, result))[0] if isinstance(x, Tensor)]
    products = ("mm", "addmm", "bmm", "_addmm_activation", "baddbmm")
    flop = rows = columns = 0.0
    if name in products:
        matrices = [x for x in args if isinstance(x, Tensor) and x.ndim >= 2][-2:]
        rows, inner = matrices[0].shape[-2:]
        columns = matrices[1].shape[-1]
        flop = 2.0 * rows * inner * columns
    return Operation(
        name,
        _KERNELS.get(name, 1),
        float(sum(x.nbytes for x in tensors)),
        flop,
        float(rows),
        float(columns),
        any(x.dtype == torch.bfloat16 for x in tensors),
    )


def count_update(
    method: str, hidden_dims: Sequence[int], batch: int, kind: str
) -> list[Operation]:
    """The operations of one update with the kernels that a GPU gets, sampling excluded."""
    small, larger = (_counted(method, hidden_dims, size, kind) for size in _SMALL_BATCHES)
    first, second = _SMALL_BATCHES
    if [operation.name for operation in small] != [operation.name for operation in larger]:
        raise RuntimeError(f"the operations of {method} depend on the batch size")

    def extrapolate(low: float, high: float) -> float:
        return low + (high - low) * (batch - first) / (second - first)

    return [
        Operation(
            low.name,
            low.kernels,
            extrapolate(low.bytes, high.bytes),
            extrapolate(low.flop, high.flop),
            extrapolate(low.rows, high.rows),
            extrapolate(low.columns, high.columns),
            low.bfloat16,
        )
        for low, high in zip(small, larger, strict=True)
    ]


def _counted(
    method: str, hidden_dims: Sequence[int], batch: int, kind: str
) -> list[Operation]:
    settings = product.config(method, hidden_dims, batch, kind)
    agent = product.new_agent(settings, torch.device("cpu"))
    if kind == product.EAGER:
        product.use_kernels(agent, torch.device("cpu"), kind)
    else:
        product.use_cuda_kernels(agent, kind)
    windows, noise = product.random_batch(agent, settings, 0)
    with _Counter() as counter:
        agent.update(windows, noise)
    return counter.operations

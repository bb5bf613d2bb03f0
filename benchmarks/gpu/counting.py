"""Counts the kernels, bytes and operations of an update, by running it once on the CPU.

Every operation that launches a kernel on a GPU is recorded with the bytes it reads and writes, the
FLOP of its matrix product, and the branches that it is in: a GPU runs several at the same time.
Bytes and FLOP are linear in the batch size, so two small batches give those of any batch.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
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
_KERNELS = {"_fused_adam_": 3}
SMALL_BATCHES = (8, 16)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: kernels, bytes moved, and its product's sizes (rows 0: no product).

    `branches` names the branch that it is in, outermost first: the number of the fork, and the
    number of the branch from that fork.
    """

    name: str
    kernels: int
    bytes: float
    flop: float
    rows: float
    columns: float
    bfloat16: bool
    branches: tuple[tuple[int, int], ...] = ()


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._branches: tuple[tuple[int, int], ...] = ()
        self._forks = itertools.count()

    def fork(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call the functions, each in a branch of its own."""
        outside, fork = self._branches, next(self._forks)
        results = []
        for branch, function in enumerate(functions):
            self._branches = (*outside, (fork, branch))
            results.append(function())
        self._branches = outside
        return results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        namespace, _, name = func._schema.name.partition("::")
        if namespace == "aten" and name not in _NO_KERNEL:
            if name == "baddbmm":
                self._add(_bias_copy(result))
            self._add(_operation(name, args, kwargs or {}, result))
        return result

    def _add(self, operation: Operation) -> None:
        self.operations.append(replace(operation, branches=self._branches))


def _operation(name: str, args: Any, kwargs: Any, result: Any) -> Operation:
    tensors = [x for x in tree_flatten((args, kwargs, result))[0] if isinstance(x, Tensor)]
    products = ("mm", "addmm", "addmm_", "bmm", "_addmm_activation", "baddbmm")
    flop = rows = columns = 0.0
    if name in products:
        matrices = [x for x in args if isinstance(x, Tensor) and x.ndim >= 2][-2:]
        *members, rows, inner = matrices[0].shape
        rows *= math.prod(members)
        columns = matrices[1].shape[-1]
        flop = 2.0 * rows * inner * columns
    return Operation(
        name,
        _kernels(name, args),
        float(sum(x.nbytes for x in tensors)),
        flop,
        float(rows),
        float(columns),
        any(x.dtype == torch.bfloat16 for x in tensors),
    )


def _bias_copy(result: Tensor) -> Operation:
    """On a GPU, baddbmm copies the bias to each row of the result, which the product then reads."""
    moved = 2.0 * result.nbytes
    return Operation("copy_", 1, moved, 0.0, 0.0, 0.0, result.dtype == torch.bfloat16)


def _kernels(name: str, args: Any) -> int:
    if name == "native_layer_norm_backward":
        # One for the input, and one for scale and shift if it has them.
        weight = args[5]
        return 1 if weight is None else 2
    return _KERNELS.get(name, 1)


def count_update(
    method: str, hidden_dims: Sequence[int], kind: str, scratch: Path
) -> tuple[list[Operation], list[Operation]]:
    """The operations of one update, sampling included, with the kernels that a GPU gets.

    Args:
        scratch: folder for a small dataset.

    Returns:
        Operations at the two `SMALL_BATCHES`, from which `at_batch` extrapolates.
    """
    dataset = product.random_dataset(scratch / "counting", 2_000)
    small, larger = (
        _counted(product.config(method, hidden_dims, size), dataset, kind) for size in SMALL_BATCHES
    )
    if [operation.name for operation in small] != [operation.name for operation in larger]:
        raise RuntimeError(f"the operations of {method} depend on the batch size")
    return small, larger


def at_batch(counted: tuple[list[Operation], list[Operation]], batch: int) -> list[Operation]:
    """The operations at any batch size."""
    first, second = SMALL_BATCHES

    def extrapolate(low: float, high: float) -> float:
        return low + (high - low) * (batch - first) / (second - first)

    return [
        replace(
            low,
            **{
                name: extrapolate(getattr(low, name), getattr(high, name))
                for name in ("bytes", "flop", "rows", "columns")
            },
        )
        for low, high in zip(*counted, strict=True)
    ]


def along_branches(
    operations: Sequence[Operation], cost: Callable[[Operation], float], depth: int = 0
) -> float:
    """The cost of all operations, where of several branches the most expensive one counts."""
    total = 0.0
    for _, found in itertools.groupby(
        operations, lambda o: o.branches[depth][0] if len(o.branches) > depth else None
    ):
        group = [*found]
        if len(group[0].branches) <= depth:
            total += sum(map(cost, group))
            continue
        branches: dict[int, list[Operation]] = defaultdict(list)
        for operation in group:
            branches[operation.branches[depth][1]].append(operation)
        total += max(along_branches(branch, cost, depth + 1) for branch in branches.values())
    return total


def totals(operations: Sequence[Operation]) -> dict[str, float]:
    """Launches, those of them that wait for each other, bytes and FLOP of an update."""
    return {
        "launches": float(sum(o.kernels for o in operations)),
        "launches in sequence": along_branches(operations, lambda o: o.kernels),
        "bytes": sum(o.bytes for o in operations),
        "flop": sum(o.flop for o in operations),
    }


def _counted(settings: Any, dataset: Any, kind: str) -> list[Operation]:
    training = product.Training(settings, dataset, torch.device("cpu"), kind)
    if kind != product.EAGER:
        product.use_cuda_kernels(training.agent, kind)
    # The first update also makes the optimiser's state.
    training.run_eager(1)
    batch = training.draw()
    with _Counter() as counter, product.as_on_a_gpu(counter.fork):
        if kind == product.EAGER:
            training.run_eager(1)
        else:
            # Within a graph, the next batch is drawn while the networks learn.
            counter.fork([partial(training.learn, batch), training.draw])
    training.close()
    return counter.operations

"""The choice of kernels that compute the networks during an update.

`choose` picks the kernels for a device, and `using` applies them. Outside `using`, networks are
plain float32 torch: rollouts, evaluations and exports use that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from qc_core.errors import UsageError
from qc_core.networks.side_by_side import side_by_side


@dataclass(frozen=True, slots=True)
class Kernels:
    """How networks are computed.

    Attributes:
        name: for people and for benchmarks.
        quick_gelu: compute GELU with `quick_gelu` instead of torch's.
        hidden_dtype: type of the products between hidden layers; None is the weights' type.
        rows: without gradients, a larger batch is computed in parts of this many rows, which fit
            in the processor's cache; None computes it in one part.
        few_launches: fewer and larger kernels: each computes all members of an ensemble, and some
            products are added to their offset in place.
        streams: parts of an update that do not need each other's results run at the same time.
        parts: without gradients, a batch is computed in this many parts, unless `rows` is set.
    """

    name: str
    quick_gelu: bool = False
    hidden_dtype: torch.dtype | None = None
    rows: int | None = None
    few_launches: bool = False
    streams: bool = False
    parts: int = 1


# 512 rows of 512 numbers are 1 MiB.
_CACHED_ROWS = 512
PLAIN = Kernels("float32")
CPU_FLOAT32 = Kernels("float32", quick_gelu=True, rows=_CACHED_ROWS)
CPU_BFLOAT16 = Kernels("bfloat16", True, torch.bfloat16, _CACHED_ROWS)
CUDA_FLOAT32 = Kernels("float32", few_launches=True, streams=True, parts=4)
CUDA_BFLOAT16 = replace(CUDA_FLOAT32, name="bfloat16", hidden_dtype=torch.bfloat16)
_BY_DEVICE = {
    "cpu": {"float32": CPU_FLOAT32, "bfloat16": CPU_BFLOAT16},
    "cuda": {"float32": CUDA_FLOAT32, "bfloat16": CUDA_BFLOAT16},
}

_current: ContextVar[Kernels] = ContextVar("kernels", default=PLAIN)


def current() -> Kernels:
    """Return the kernels in use here."""
    return _current.get()


@contextlib.contextmanager
def using(kernels: Kernels) -> Iterator[None]:
    """Compute networks with these kernels inside the block."""
    token = _current.set(kernels)
    try:
        yield
    finally:
        _current.reset(token)


def choose(device: torch.device, precision: str) -> Kernels:
    """Return the fastest kernels for this device.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 where the device multiplies it.

    Raises:
        UsageError: bfloat16 is requested, and the device does not multiply it.
    """
    kind = "cuda" if device.type == "cuda" else "cpu"
    if kind == "cuda":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        has_bfloat16 = torch.cpu._is_avx512_bf16_supported()
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16 else "float32"
    elif precision == "bfloat16" and not has_bfloat16:
        needed = "compute capability 8.0" if kind == "cuda" else "AVX512-BF16"
        raise UsageError(
            f"--train.precision bfloat16 is not available: the {kind} device has no {needed}; "
            "use auto or float32"
        )
    return _BY_DEVICE[kind][precision]


def in_parts(function: Callable[..., Tensor], *batches: Tensor, rows_each: int) -> Tensor:
    """Apply a function to a batch, in the parts that suit the device.

    On a CPU each part fits in the cache. On a GPU a few parts run side by side, so that products
    of one use the multiprocessors while activations of another use the memory.

    Args:
        batches: the function's arguments, [B, ...] each.
        rows_each: rows of the networks' input that one row of the batch becomes.
    """
    chosen = current()
    if torch.is_grad_enabled() or (chosen.rows is None and chosen.parts == 1):
        # An export traces any batch size, and torch 2.11 makes a constant of a length.
        return function(*batches)
    count = len(batches[0])
    if chosen.rows is not None:
        size = max(1, chosen.rows // rows_each)
    else:
        size = -(-count // chosen.parts)
    if size >= count:
        return function(*batches)
    parts = zip(*(batch.split(size) for batch in batches), strict=True)
    functions = [partial(function, *part) for part in parts]
    return torch.cat(side_by_side(functions, batches[0].device, streams=chosen.streams))

"""How the layers of a network are computed while it learns: the same functions, other kernels.

Outside `using` a network computes as plain float32 torch would, which is what is played, exported
and compared with. Weights are float32 everywhere; where the processor multiplies bfloat16 faster,
the products between hidden layers, nine tenths of the work, are taken in it. The first and the
last layer keep their precision: observations and values have more digits than bfloat16.

Shapes: R rows, I inputs, W width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from qc_core.networks.activations import cpu_gelu, gelu


def dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    """GELU behind a dense layer, [R, W]."""
    return gelu(functional.linear(x_RI, weight_WI, bias_W))


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A choice of kernels.

    Attributes:
        hidden: type of the products between hidden layers; None is the weights' own.
        dense: a dense layer in that type, differentiable.
        gelu: differentiable; where nothing is differentiated it may overwrite its input.
        dense_gelu: both of them between hidden layers, where nothing is differentiated.
        pack: turns a weight [W, I] into the form that `dense_gelu` wants.
        rows: a batch of more rows without gradient is computed in parts of so many, which then
            stay in the processor's cache; None takes it whole.
    """

    name: str
    hidden: torch.dtype | None = None
    dense: Callable[[Tensor, Tensor, Tensor], Tensor] = functional.linear
    gelu: Callable[[Tensor], Tensor] = gelu
    dense_gelu: Callable[[Tensor, Tensor, Tensor], Tensor] = dense_gelu
    pack: Callable[[Tensor], Tensor] = Tensor.detach
    rows: int | None = None


PLAIN = Arithmetic("float32, plain torch")

_current: ContextVar[Arithmetic] = ContextVar("arithmetic", default=PLAIN)


def current() -> Arithmetic:
    """What networks compute with here."""
    return _current.get()


@contextlib.contextmanager
def using(arithmetic: Arithmetic) -> Iterator[None]:
    """Networks compute with this inside the block."""
    token = _current.set(arithmetic)
    try:
        yield
    finally:
        _current.reset(token)


def _cpu_dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    return cpu_gelu(functional.linear(x_RI, weight_WI, bias_W))


def _onednn_dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    """oneDNN's product with the GELU in its epilogue."""
    return torch.ops.mkldnn._linear_pointwise(x_RI, weight_WI, bias_W, "gelu", [], "tanh")


def _onednn_pack(weight_WI: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_WI.detach().contiguous())


def _cublas_dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    """cuBLASLt's product with the GELU, in its tanh form, in the epilogue."""
    rows_RI = x_RI.flatten(0, -2)
    out_RW = torch.ops.aten._addmm_activation(bias_W, rows_RI, weight_WI.mT, use_gelu=True)
    return out_RW.unflatten(0, x_RI.shape[:-1])


def _rounded_dense(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    """Products of bfloat16 numbers are exact in float32, in which bfloat16 processors add them."""
    return functional.linear(x_RI.float(), weight_WI.float(), bias_W.float()).to(x_RI.dtype)


def _rounded_dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    product_RW = functional.linear(x_RI.float(), weight_WI.float(), bias_W.float())
    return cpu_gelu(product_RW).to(x_RI.dtype)


# 512 rows of 512 numbers are 1 MiB.
_CACHED_ROWS = 512
CPU_FLOAT32 = Arithmetic("float32", gelu=cpu_gelu, dense_gelu=_cpu_dense_gelu, rows=_CACHED_ROWS)
# On AVX2 oneDNN's GELU gathers from memory and is slower than ours; AVX-512, which every processor
# with bfloat16 has, permutes registers.
CPU_BFLOAT16 = Arithmetic(
    "bfloat16",
    hidden=torch.bfloat16,
    gelu=cpu_gelu,
    dense_gelu=_onednn_dense_gelu,
    pack=_onednn_pack,
    rows=_CACHED_ROWS,
)
# What bfloat16 learns, on a processor that has none; not how fast.
CPU_ROUNDED = Arithmetic(
    "bfloat16, multiplied in float32",
    hidden=torch.bfloat16,
    dense=_rounded_dense,
    gelu=cpu_gelu,
    dense_gelu=_rounded_dense_gelu,
    rows=_CACHED_ROWS,
)
CUDA_FLOAT32 = Arithmetic("float32", dense_gelu=_cublas_dense_gelu)
CUDA_BFLOAT16 = Arithmetic("bfloat16", hidden=torch.bfloat16, dense_gelu=_cublas_dense_gelu)


def choose(device: torch.device, precision: str) -> Arithmetic:
    """The fastest kernels for this device.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 where the device multiplies it.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        table = {"float32": CUDA_FLOAT32, "bfloat16": CUDA_BFLOAT16}
    else:
        fast = torch.cpu._is_avx512_bf16_supported()
        table = {"float32": CPU_FLOAT32, "bfloat16": CPU_BFLOAT16 if fast else CPU_ROUNDED}
    return table[("bfloat16" if fast else "float32") if precision == "auto" else precision]

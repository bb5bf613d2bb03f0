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

from qc_core.networks.gelu import cpu_gelu, gelu


def dense_gelu(x_RI: Tensor, weight_WI: Tensor, bias_W: Tensor) -> Tensor:
    """GELU behind a dense layer, [R, W]."""
    return gelu(functional.linear(x_RI, weight_WI, bias_W))


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A choice of kernels.

    Attributes:
        hidden: type of the products between hidden layers; None is the weights' own.
        gelu: differentiable; where nothing is differentiated it may overwrite its input.
        dense_gelu: a dense layer and its GELU where no gradient is wanted.
        pack: turns a weight [W, I] into the form that `dense_gelu` wants.
        rows: a batch of more rows without gradient is computed in parts of so many, which then
            stay in the processor's cache; None takes it whole.
    """

    name: str
    hidden: torch.dtype | None = None
    gelu: Callable[[Tensor], Tensor] = gelu
    dense_gelu: Callable[[Tensor, Tensor, Tensor], Tensor] = dense_gelu
    pack: Callable[[Tensor], Tensor] = torch.Tensor.detach
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
    """cuBLASLt's product with the GELU (tanh form, as ours) in its epilogue."""
    rows_RI = x_RI.reshape(-1, x_RI.shape[-1])
    out_RW = torch._addmm_activation(bias_W, rows_RI, weight_WI.mT, use_gelu=True)
    return out_RW.reshape(*x_RI.shape[:-1], -1)


# 2,048 rows of 512 numbers are 4 MiB.
_CACHED_ROWS = 2048
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
CUDA_FLOAT32 = Arithmetic("float32", dense_gelu=_cublas_dense_gelu)
CUDA_BFLOAT16 = Arithmetic("bfloat16", hidden=torch.bfloat16, dense_gelu=_cublas_dense_gelu)

"""GELU in its tanh form, and a way to compute it in half the time on a CPU.

0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) is x · σ(u) with u = x · (c + d · x²): an
exponential instead of the slower tanh, forward, and none at all backward.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_C = 2 * math.sqrt(2 / math.pi)
_D = 0.044715 * _C


def gelu(x: Tensor) -> Tensor:
    """torch's own."""
    return functional.gelu(x, approximate="tanh")


def cpu_gelu(x: Tensor) -> Tensor:
    """The same numbers but for rounding.

    Where nothing is differentiated it overwrites `x`.
    """
    if x.dtype == torch.bfloat16:
        # Each of the steps would round.
        return gelu(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Gelu.apply(x)
    return x.mul_(_gate(x))


def _gate(x: Tensor) -> Tensor:
    """σ(u)."""
    return torch.addcmul(x.new_full((), _C), x, x, value=_D).mul_(x).sigmoid_()


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = _gate(x)
        y = x * gate
        ctx.save_for_backward(x, gate, y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        # y' = σ + (y - y · σ) · u' with u' = c + 3 · d · x²
        x, gate, y = ctx.saved_tensors
        slope = torch.addcmul(x.new_full((), _C), x, x, value=3 * _D)
        rest = torch.addcmul(y, y, gate, value=-1)
        return torch.addcmul(gate, rest, slope, out=slope).mul_(grad_outputs[0])

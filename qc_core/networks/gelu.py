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
    return torch.mul(x, x).mul_(_D).add_(_C).mul_(x).sigmoid_()


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        gate = _gate(x)
        context.save_for_backward(x, gate)
        return x * gate

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # (x · σ(u))' = σ + x · σ · (1 - σ) · u', u' = c + 3 · d · x²
        x, gate = context.saved_tensors
        slope = torch.mul(x, x).mul_(3 * _D).add_(_C).mul_(x)
        slope.mul_(1 - gate).add_(1).mul_(gate)
        return slope.mul_(gradients[0])

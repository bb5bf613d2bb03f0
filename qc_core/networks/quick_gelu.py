"""The tanh form of GELU with a sigmoid instead of tanh, which takes half the time on a CPU.

0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) is x · σ(u) with u = x · (c + d · x²). The
forward pass needs an exponential instead of the slower tanh, and the backward pass needs neither.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_C = 2 * math.sqrt(2 / math.pi)
_D = 0.044715 * _C


def quick_gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, equal to torch's up to rounding.

    Without gradients it overwrites `x`, unless `x` is bfloat16.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _QuickGelu.apply(x)
    wide = _widened(x)
    return wide.mul_(_gate(wide)).to(x.dtype)


def _widened(x: Tensor) -> Tensor:
    """bfloat16 as float32, because otherwise each step would round."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _gate(x: Tensor) -> Tensor:
    """σ(u)."""
    return torch.addcmul(x.new_full((), _C), x, x, value=_D).mul_(x).sigmoid_()


class _QuickGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = _widened(x)
        gate = _gate(wide)
        y = wide * gate
        ctx.save_for_backward(wide, gate, y)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        # y' = σ + (y - y · σ) · u' with u' = c + 3 · d · x²
        x, gate, y = ctx.saved_tensors
        slope = torch.addcmul(x.new_full((), _C), x, x, value=3 * _D)
        rest = torch.addcmul(y, y, gate, value=-1)
        (grad,) = grad_outputs
        # addcmul over mixed types is slow, so the gradient is widened before the product.
        torch.addcmul(gate, rest, slope, out=slope).mul_(_widened(grad))
        return slope.to(grad.dtype)

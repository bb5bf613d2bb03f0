"""The fast path: the same layers with a quicker GELU, with bfloat16 between hidden layers, or
computed for all members of an ensemble at once.

Weights are float32 everywhere. With bfloat16, only the products between hidden layers use it: they
are nine tenths of the work. The first and the last layer stay in float32, because observations and
values have more digits than bfloat16.

Shapes: K ensemble members, I inputs, W width of a hidden layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qc_core.networks.kernels import Kernels
from qc_core.networks.layers import LAYER_NORM_EPSILON, Activation, Layers, Norm
from qc_core.networks.quick_gelu import quick_gelu

# They are not in torch's type stubs.
_addmm_activation: Any = torch.ops.aten._addmm_activation
_foreach_copy: Any = torch.ops.aten._foreach_copy_


class FastLayers(Layers):
    """The layers of one network, computed with the given kernels.

    Hidden weights are converted once, when this is made, for all its evaluations.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        scales: Sequence[Tensor],
        shifts: Sequence[Tensor],
        activation: Activation,
        norm: Norm,
        kernels: Kernels,
    ) -> None:
        super().__init__(weights, biases, scales, shifts, activation, norm)
        self._quick_gelu = kernels.quick_gelu
        self._few_launches = kernels.few_launches
        self._first_activation_dtype = weights[0].dtype
        if kernels.hidden_dtype is not None and len(weights) > 2:
            # A GPU moves fewer bytes if the first activation has the type of the next layer. A
            # LayerNorm before it would enlarge the rounding.
            converts_early = kernels.few_launches and norm != "before"
            if converts_early:
                self._first_activation_dtype = kernels.hidden_dtype
            # The first LayerNorm computes in the type of the first activation.
            norms = slice(0 if converts_early else 1, None)
            hidden = slice(1, len(weights) - 1)
            groups = (
                (self.weights, hidden),
                (self.biases, hidden),
                (self.scales, norms),
                (self.shifts, norms),
            )
            tensors = [tensor for group, part in groups for tensor in group[part]]
            converted = iter(_Converted.apply(kernels.hidden_dtype, *tensors))
            for group, part in groups:
                group[part] = itertools.islice(converted, len(group[part]))

    def first_with_fixed(
        self, fixed_BW: Tensor, x: Tensor, columns: slice, numbers: Sequence[float]
    ) -> Tensor:
        if not self._few_launches:
            return super().first_with_fixed(fixed_BW, x, columns, numbers)
        weight, offset = self.weights[0], fixed_BW.unflatten(-2, (-1, *[1] * (x.ndim - 2)))
        for column, number in enumerate(reversed(numbers), 1):
            offset = torch.add(offset, weight[..., -column], alpha=number)
        if numbers and x.ndim == 2:
            # The sum is as large as the product, and nothing else needs it.
            return offset.addmm_(x, weight[:, columns].T)
        product = self.first(x, columns, None)
        if torch.is_grad_enabled():
            return product.add_(offset)
        dtype = self._first_activation_dtype
        return torch.add(product, offset, out=torch.empty_like(product, dtype=dtype))

    def dense(self, x: Tensor, layer: int) -> Tensor:
        weight = self.weights[layer]
        return functional.linear(x.to(weight.dtype), weight, self.biases[layer])

    def hidden(self, x: Tensor, layer: int) -> Tensor:
        is_fused = self._few_launches and self.activation == "gelu" and self.norm != "before"
        if not is_fused or torch.is_grad_enabled():
            return super().hidden(x, layer)
        x = product_and_gelu(x, self.weights[layer], self.biases[layer])
        return self.layer_norm(x, layer) if self.norm == "after" else x

    def activate(self, x: Tensor, layer: int) -> Tensor:
        return super().activate(x.to(self._first_activation_dtype) if layer == 0 else x, layer)

    def gelu(self, x: Tensor) -> Tensor:
        return quick_gelu(x) if self._quick_gelu else super().gelu(x)


def product_and_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU of a Dense layer, [..., I] → [..., W], without gradients: on a GPU in one kernel."""
    if not x.is_cuda:
        return functional.gelu(functional.linear(x, weight, bias), approximate="tanh")
    # On a GPU, and only there, this is the tanh form of GELU.
    rows = _addmm_activation(bias, x.flatten(0, -2), weight.T, use_gelu=True)
    return rows.unflatten(0, x.shape[:-1])


class EnsembleLayers(FastLayers):
    """The layers of all members of an ensemble: each kernel computes every member.

    A GPU computes K small products in the time of one, and each launch takes longer than the
    product. All tensors have a first axis K: weights [K, outputs, inputs], others [K, outputs].
    Inputs are shared by the members and have no such axis: [..., I] → [K, ..., outputs].
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        scales: Sequence[Tensor],
        shifts: Sequence[Tensor],
        activation: Activation,
        norm: Norm,
        kernels: Kernels,
    ) -> None:
        if norm == "after":
            # W (n · scale + shift) + b = (W · scale) n + (W shift + b): no pass over the batch.
            first, *others = weights
            products = [
                torch.baddbmm(bias[..., None], weight, shift[..., None]).squeeze(-1)
                for weight, bias, shift in zip(others, biases[1:], shifts, strict=True)
            ]
            weights = [first, *(w * s[:, None] for w, s in zip(others, scales, strict=True))]
            biases, scales, shifts = [biases[0], *products], (), ()
        super().__init__(weights, biases, scales, shifts, activation, norm, kernels)

    def first(self, x: Tensor, columns: slice, bias: Tensor | None) -> Tensor:
        weight = self.weights[0][..., columns]
        shared = x.flatten(0, -2).expand(len(weight), -1, -1)
        return _products(shared, weight, bias).unflatten(1, x.shape[:-1])

    def dense(self, x: Tensor, layer: int) -> Tensor:
        weight = self.weights[layer]
        rows = x.to(weight.dtype).flatten(1, -2)
        return _products(rows, weight, self.biases[layer]).unflatten(1, x.shape[1:-1])

    def hidden(self, x: Tensor, layer: int) -> Tensor:
        return self.activate(self.dense(x, layer), layer)

    def layer_norm(self, x: Tensor, layer: int) -> Tensor:
        normed = functional.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPSILON)
        if not self.scales:
            return normed
        axes = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        scale, shift = self.scales[layer], self.shifts[layer]
        return torch.addcmul(shift.view(axes), normed, scale.view(axes))


def _products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[K, rows, inputs] with weights [K, outputs, inputs] → [K, rows, outputs]."""
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)


class _Converted(torch.autograd.Function):
    """Tensors in another floating-point type: on a GPU, all in one kernel."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = tensors[0].dtype
        return _converted(tensors, dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        return None, *_converted(grad_outputs, ctx.dtype)


def _converted(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    _foreach_copy(copies, tensors)
    return copies

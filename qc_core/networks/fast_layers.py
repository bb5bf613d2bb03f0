"""The fast path: the same layers with a quicker GELU, with bfloat16 between hidden layers, or
computed for all members of an ensemble at once.

Weights are float32 everywhere. With bfloat16, only the products between hidden layers use it: they
are nine tenths of the work. The first and the last layer stay in float32, because observations and
values have more digits than bfloat16.

Shapes: K ensemble members, I inputs, W width of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from qc_core.networks.kernels import Kernels
from qc_core.networks.layers import LAYER_NORM_EPSILON, Activation, Layers, Norm
from qc_core.networks.quick_gelu import quick_gelu


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
        if kernels.hidden_dtype is not None:
            for layer in range(1, len(self.weights) - 1):
                self.weights[layer] = self.weights[layer].to(kernels.hidden_dtype)
                self.biases[layer] = self.biases[layer].to(kernels.hidden_dtype)

    def dense(self, x: Tensor, layer: int) -> Tensor:
        weight = self.weights[layer]
        return functional.linear(x.to(weight.dtype), weight, self.biases[layer])

    def gelu(self, x: Tensor) -> Tensor:
        return quick_gelu(x) if self._quick_gelu else super().gelu(x)

    def layer_norm(self, x: Tensor, layer: int) -> Tensor:
        scale, shift = self.scales[layer].to(x.dtype), self.shifts[layer].to(x.dtype)
        return functional.layer_norm(x, x.shape[-1:], scale, shift, LAYER_NORM_EPSILON)


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

    def layer_norm(self, x: Tensor, layer: int) -> Tensor:
        normed = functional.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPSILON)
        if not self.scales:
            return normed
        axes = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        scale, shift = self.scales[layer].to(x.dtype), self.shifts[layer].to(x.dtype)
        return torch.addcmul(shift.view(axes), normed, scale.view(axes))


def _products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[K, rows, inputs] with weights [K, outputs, inputs] → [K, rows, outputs]."""
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)

"""The fast path: the same layers with a quicker GELU, or with bfloat16 between hidden layers.

Weights are float32 everywhere. With bfloat16, only the products between hidden layers use it: they
are nine tenths of the work. The first and the last layer stay in float32, because observations and
values have more digits than bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence

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

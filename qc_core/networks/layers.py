"""One multi-layer perceptron, as in the paper: Dense → GELU → LayerNorm, and a last Dense layer.

RLPD's networks have LayerNorm → ReLU instead.

Shapes: B batch, I inputs, X some of them, W width of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional

Activation = Literal["gelu", "relu"]
Norm = Literal["none", "before", "after"]
LAYER_NORM_EPSILON = 1e-6


class Layers:
    """The layers of one network, in plain torch.

    Args:
        weights: [outputs, inputs] of each Dense layer.
        biases: [outputs] of each Dense layer.
        scales: [W] of each LayerNorm, empty without LayerNorm.
        shifts: likewise.
        activation: of the hidden layers.
        norm: whether a LayerNorm comes before or after the activation.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        scales: Sequence[Tensor],
        shifts: Sequence[Tensor],
        activation: Activation,
        norm: Norm,
    ) -> None:
        self.weights, self.biases = [*weights], [*biases]
        self.scales, self.shifts = [*scales], [*shifts]
        self.activation, self.norm = activation, norm

    def __call__(self, x: Tensor) -> Tensor:
        """[..., I] → [..., outputs]."""
        return self.after_first(self.first(x, slice(None), self.biases[0]))

    def first(self, x: Tensor, columns: slice, bias: Tensor | None) -> Tensor:
        """The first Dense layer's product with some of its inputs, [..., I'] → [..., W]."""
        return functional.linear(x, self.weights[0][..., columns], bias)

    def first_with_fixed(
        self, fixed_BW: Tensor, x: Tensor, columns: slice, numbers: Sequence[float]
    ) -> Tensor:
        """The first Dense layer's output [..., B, ..., W], where some inputs are fixed.

        Args:
            fixed_BW: [..., B, W], the part of the fixed inputs, bias included.
            x: [B, ..., X], inputs of these columns, any number of samples per row of the batch.
            numbers: inputs of the last columns, the same for all samples.
        """
        # One row of the batch has the same offset for all its samples.
        offset = fixed_BW.unflatten(-2, (-1, *[1] * (x.ndim - 2)))
        for column, number in enumerate(reversed(numbers), 1):
            offset = offset + self.weights[0][..., -column] * number
        return self.first(x, columns, None).add_(offset)

    def after_first(self, x: Tensor) -> Tensor:
        """The network's output [..., outputs] from the first Dense layer's output [..., W]."""
        last = len(self.weights) - 1
        for layer in range(last):
            x = self.activate(x, 0) if layer == 0 else self.hidden(x, layer)
        return self.dense(x, last) if last else x

    def hidden(self, x: Tensor, layer: int) -> Tensor:
        """A hidden Dense layer other than the first, with its activation."""
        return self.activate(self.dense(x, layer), layer)

    def activate(self, x: Tensor, layer: int) -> Tensor:
        """The activation of a hidden layer, with its LayerNorm if it has one."""
        if self.norm == "before":
            x = self.layer_norm(x, layer)
        x = functional.relu(x) if self.activation == "relu" else self.gelu(x)
        return self.layer_norm(x, layer) if self.norm == "after" else x

    def dense(self, x: Tensor, layer: int) -> Tensor:
        """A Dense layer other than the first, [..., W] → [..., W or outputs]."""
        return functional.linear(x, self.weights[layer], self.biases[layer])

    def gelu(self, x: Tensor) -> Tensor:
        """x · Φ(x), in the tanh form of the paper's code."""
        return functional.gelu(x, approximate="tanh")

    def layer_norm(self, x: Tensor, layer: int) -> Tensor:
        scale, shift = self.scales[layer], self.shifts[layer]
        return functional.layer_norm(x, x.shape[-1:], scale, shift, LAYER_NORM_EPSILON)

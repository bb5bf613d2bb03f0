"""Multi-layer perceptrons, one or an ensemble of them.

Shapes: K ensemble members, B batch, I inputs, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from qc_core.networks import kernels as arithmetic

Activation = Literal["gelu", "relu"]
Norm = Literal["none", "before", "after"]
LAYER_NORM_EPSILON = 1e-6


class MLP(nn.Module):
    """Dense layers with an activation between them and a plain last one.

    Weights are Xavier-uniform over the fan average, biases zero, as in the paper's code.

    Args:
        inputs: size I of the last axis of the input.
        widths: sizes of the hidden layers.
        outputs: size of the last axis of the output.
        activation: of the hidden layers; "gelu" in its tanh form.
        norm: where each hidden layer has a LayerNorm, before or after its activation.
        members: None for one network; K for K independently initialised networks,
            evaluated together and stacked on a new leading axis.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        outputs: int,
        *,
        activation: Activation = "gelu",
        norm: Norm = "none",
        members: int | None = None,
    ) -> None:
        super().__init__()
        sizes = [inputs, *widths, outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.scales = nn.ParameterList()
        self.shifts = nn.ParameterList()
        ensemble = () if members is None else (members,)
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = (6.0 / (fan_in + fan_out)) ** 0.5
            self.weights.append(
                nn.Parameter(torch.empty(*ensemble, fan_out, fan_in).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.zeros(*ensemble, fan_out)))
        if norm != "none":
            for width in widths:
                self.scales.append(nn.Parameter(torch.ones(*ensemble, width)))
                self.shifts.append(nn.Parameter(torch.zeros(*ensemble, width)))
        self.activation: Activation = activation
        self.norm: Norm = norm
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] → [..., outputs], or [B, I] → [K, B, outputs] for an ensemble."""
        if self.members is None:
            return self.layers()(x)
        return torch.stack([member(x) for member in self.ensemble()])

    def layers(self) -> Layers:
        """The layers of one network, for several passes with the same weights."""
        return Layers(
            [*self.weights],
            [*self.biases],
            [*self.scales],
            [*self.shifts],
            self.activation,
            self.norm,
        )

    def ensemble(self) -> list[Layers]:
        """The layers of each member."""
        groups = (self.weights, self.biases, self.scales, self.shifts)
        # One unbind per tensor: its gradient is stacked once, not added up member by member.
        split = [[parameter.unbind() for parameter in group] for group in groups]
        return [
            Layers(
                *([views[member] for views in group] for group in split),
                activation=self.activation,
                norm=self.norm,
            )
            for member in range(self.members or 0)
        ]


class Layers:
    """One network's layers as the arithmetic that is in use wants them, for several passes."""

    def __init__(
        self,
        weights: list[Tensor],
        biases: list[Tensor],
        scales: list[Tensor],
        shifts: list[Tensor],
        activation: Activation,
        norm: Norm,
    ) -> None:
        self._kernels = arithmetic.current()
        self._fuses = activation == "gelu" and norm != "before" and not torch.is_grad_enabled()
        self._weights, self._biases = weights, biases
        self._scales, self._shifts = scales, shifts
        self._activation, self._norm = activation, norm
        for layer in range(1, len(weights) - 1):
            if self._kernels.hidden is not None:
                weights[layer] = weights[layer].to(self._kernels.hidden)
                biases[layer] = biases[layer].to(self._kernels.hidden)
            if self._fuses:
                weights[layer] = self._kernels.pack(weights[layer])

    def __call__(self, x: Tensor) -> Tensor:
        """[..., I] → [..., outputs]."""
        product = functional.linear(x, self._weights[0], self._biases[0])
        return self._behind_first(product)

    def given(self, fixed_BI: Tensor) -> Callable[..., Tensor]:
        """These layers with their first inputs fixed: that part is computed once.

        Returns:
            A function of the other inputs [B, ..., X] and, if there are still more, of numbers
            that are the same for all rows.
        """
        size = fixed_BI.shape[-1]
        weight = self._weights[0]
        fixed_BW = functional.linear(fixed_BI, weight[:, :size], self._biases[0])

        def rest(x: Tensor, *numbers: float) -> Tensor:
            # One offset per row of the batch, for however many x each has.
            offset = fixed_BW.unflatten(0, (-1, *[1] * (x.ndim - 2)))
            for column, number in enumerate(reversed(numbers), 1):
                offset = offset + weight[:, -column] * number
            last = size + x.shape[-1]
            return self._behind_first(functional.linear(x, weight[:, size:last]).add_(offset))

        return rest

    def _behind_first(self, product: Tensor) -> Tensor:
        last = len(self._weights) - 1
        if last == 0:
            return product
        x = self._activate(product, 0)
        for layer in range(1, last):
            weight, bias = self._weights[layer], self._biases[layer]
            x = x.to(weight.dtype)
            if self._fuses:
                x = self._normalize(self._kernels.dense_gelu(x, weight, bias), layer)
            else:
                x = self._activate(self._kernels.dense(x, weight, bias), layer)
        return functional.linear(
            x.to(self._weights[last].dtype), self._weights[last], self._biases[last]
        )

    def _activate(self, x: Tensor, layer: int) -> Tensor:
        if self._norm == "before":
            x = self._layer_norm(x, layer)
        x = functional.relu(x) if self._activation == "relu" else self._kernels.gelu(x)
        return self._normalize(x, layer)

    def _normalize(self, x: Tensor, layer: int) -> Tensor:
        return self._layer_norm(x, layer) if self._norm == "after" else x

    def _layer_norm(self, x: Tensor, layer: int) -> Tensor:
        scale, shift = self._scales[layer].to(x.dtype), self._shifts[layer].to(x.dtype)
        return functional.layer_norm(x, x.shape[-1:], scale, shift, LAYER_NORM_EPSILON)

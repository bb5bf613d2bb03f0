"""Multi-layer perceptrons, one or an ensemble of them.

Shapes: K ensemble members, B batch, I inputs, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

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
            return self._one(x, [*self.weights], [*self.biases], [*self.scales], [*self.shifts])
        return torch.stack(
            [
                self._one(
                    x,
                    [w[k] for w in self.weights],
                    [b[k] for b in self.biases],
                    [s[k] for s in self.scales],
                    [s[k] for s in self.shifts],
                )
                for k in range(self.members)
            ]
        )

    def _one(self, x, weights, biases, scales, shifts):
        last = len(weights) - 1
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = functional.linear(x, weight, bias)
            if layer < last:
                if self.norm == "before":
                    x = _layer_norm(x, scales[layer], shifts[layer])
                x = functional.relu(x) if self.activation == "relu" else _gelu(x)
                if self.norm == "after":
                    x = _layer_norm(x, scales[layer], shifts[layer])
        return x


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], scale, shift, LAYER_NORM_EPSILON)

"""Multi-layer perceptrons with their parameters, one network or an ensemble.

Shapes: K ensemble members, B batch, I inputs, W width of a hidden layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qc_core.networks import kernels
from qc_core.networks.fast_layers import EnsembleLayers, FastLayers
from qc_core.networks.layers import Activation, Layers, Norm


class MLP(nn.Module):
    """Dense layers with an activation between them, and a plain last layer.

    Weights start Xavier-uniform over the average of fan-in and fan-out, biases zero, as in the
    paper's code.

    Args:
        inputs: size I of the last axis of the input.
        hidden_dims: widths of the hidden layers.
        outputs: size of the last axis of the output.
        activation: of the hidden layers; "gelu" is its tanh form.
        norm: whether each hidden layer has a LayerNorm, before or after its activation.
        members: K for an ensemble of K independently initialised networks, None for one network.
    """

    def __init__(
        self,
        inputs: int,
        hidden_dims: Sequence[int],
        outputs: int,
        *,
        activation: Activation = "gelu",
        norm: Norm = "none",
        members: int | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        ensemble = () if members is None else (members,)
        for fan_in, fan_out in itertools.pairwise([inputs, *hidden_dims, outputs]):
            bound = (6.0 / (fan_in + fan_out)) ** 0.5
            weight = torch.empty(*ensemble, fan_out, fan_in).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(*ensemble, fan_out)))
        if norm != "none":
            for width in hidden_dims:
                self.scales.append(nn.Parameter(torch.ones(*ensemble, width)))
                self.shifts.append(nn.Parameter(torch.zeros(*ensemble, width)))
        self.activation: Activation = activation
        self.norm: Norm = norm
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] → [..., outputs], or [B, I] → [K, B, outputs] for an ensemble."""
        return self.join([layers(x) for layers in self.layers()])

    def layers(self) -> list[Layers]:
        """Return the layers, for several evaluations with the same weights.

        They are plain torch and one entry per member, unless the caller is inside
        `kernels.using`. Nothing else decides between the plain layers and the fast ones.
        """
        chosen = kernels.current()
        if chosen.few_launches and self.members is not None:
            tensors = ([*self.weights], [*self.biases], [*self.scales], [*self.shifts])
            return [EnsembleLayers(*tensors, self.activation, self.norm, chosen)]
        parts = zip(
            self._by_member(self.weights),
            self._by_member(self.biases),
            self._by_member(self.scales),
            self._by_member(self.shifts),
            strict=True,
        )
        if chosen == kernels.PLAIN:
            return [Layers(*part, self.activation, self.norm) for part in parts]
        return [FastLayers(*part, self.activation, self.norm, chosen) for part in parts]

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        """Join the outputs of all entries of `layers()`: [K, ...] for an ensemble."""
        if self.members is None or kernels.current().few_launches:
            return outputs[0]
        return torch.stack([*outputs])

    def _by_member(self, group: nn.ParameterList) -> list[list[Tensor]]:
        """Return the tensors of each member."""
        if self.members is None:
            return [[*group]]
        # One unbind per tensor: its gradient is stacked once, not added up member by member.
        views = [parameter.unbind() for parameter in group]
        return [[view[member] for view in views] for member in range(self.members)]

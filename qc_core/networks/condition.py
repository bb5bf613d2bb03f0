"""Evaluate a network many times at the same observations.

The first Dense layer is linear: W [s, x, t] + b = (W_s s + b) + W_x x + W_t t. The part of the
observations is computed once and added to the part of each sample.

Shapes: K ensemble members, B batch, I fixed inputs, X other inputs, W width of the first layer.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from qc_core.networks.layers import Layers


def condition(layers: Layers, fixed_BI: Tensor) -> Callable[..., Tensor]:
    """Return the network as a function of its other inputs, with its first I inputs fixed.

    Returns:
        A function of x [B, ..., X], for any number of samples per row of the batch, and of
        numbers that are the same for every sample, such as the flow time. An ensemble returns
        [K, B, ..., outputs] and takes no numbers.
    """
    size = fixed_BI.shape[-1]
    fixed_BW = layers.first(fixed_BI, slice(size), layers.biases[0])

    def conditioned(x: Tensor, *numbers: float) -> Tensor:
        columns = slice(size, size + x.shape[-1])
        return layers.after_first(layers.first_with_fixed(fixed_BW, x, columns, numbers))

    return conditioned

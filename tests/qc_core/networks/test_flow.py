"""The flow integrates its velocity field by Euler steps."""

import pytest
import torch
from torch import Tensor

from qc_core.networks.flow import VelocityField, integrate
from qc_core.networks.kernels import CUDA_FLOAT32, PLAIN, Kernels, using


def constant(x: Tensor, time: float) -> Tensor:
    """A field with the same velocity everywhere and at all times."""
    return torch.full_like(x, 0.5)


def clock(x: Tensor, time: float) -> Tensor:
    """A field whose velocity is the flow time."""
    return torch.full_like(x, time)


def test_constant_field_is_integrated_over_unit_time() -> None:
    end = integrate(constant, torch.zeros(3, 4), flow_steps=10)
    torch.testing.assert_close(end, torch.full((3, 4), 0.5))


def test_times_are_evenly_spaced_from_zero() -> None:
    end = integrate(clock, torch.zeros(1, 4), flow_steps=4)
    torch.testing.assert_close(end, torch.full((1, 4), (0 + 1 + 2 + 3) / 16))


def test_only_the_result_is_clipped() -> None:
    # Starting at -3 a step of 0.5 leads to -2.5: clipping each step would give another result.
    end = integrate(constant, torch.tensor([[-3.0], [0.8]]), 10)
    torch.testing.assert_close(end, torch.tensor([[-1.0], [1.0]]))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kernels", [PLAIN, CUDA_FLOAT32], ids=["plain", "gpu"])
def test_conditioned_field_equals_the_field(kernels: Kernels, gradients: bool) -> None:
    field = VelocityField(3, 4, (8, 8, 8))
    for bias in field.mlp.biases:
        torch.nn.init.normal_(bias)
    observation, x = torch.randn(5, 3), torch.randn(5, 2, 4)
    expected = torch.stack(
        [field(observation, x[:, i], torch.full((5, 1), 0.3)) for i in range(2)], dim=1
    )
    with using(kernels), torch.set_grad_enabled(gradients):
        velocity = field.condition(observation)
        torch.testing.assert_close(velocity(x, 0.3), expected)
        torch.testing.assert_close(velocity(x[:, 0], 0.3), expected[:, 0])
        # Nothing was changed in place that a second call needs.
        torch.testing.assert_close(velocity(x[:, 0], 0.3), expected[:, 0])

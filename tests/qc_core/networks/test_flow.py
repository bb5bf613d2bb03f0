"""The flow integrates its velocity field by Euler steps."""

import torch

from qc_core.networks.flow import VelocityField, integrate


class Constant(VelocityField):
    """A field that moves everything by the same, whatever the time."""

    def forward(self, observation_BO, x_BL, time_B1):
        return torch.full_like(x_BL, 0.5)


class Clock(VelocityField):
    """A field that is the flow time itself."""

    def forward(self, observation_BO, x_BL, time_B1):
        return time_B1.expand_as(x_BL)


def test_a_constant_field_is_followed_for_unit_time() -> None:
    start = torch.zeros(3, 4)
    end = integrate(Constant(2, 4, (8,)), torch.zeros(3, 2), start, flow_steps=10)
    torch.testing.assert_close(end, torch.full((3, 4), 0.5))


def test_times_are_evenly_spaced_from_zero() -> None:
    end = integrate(Clock(2, 4, (8,)), torch.zeros(1, 2), torch.zeros(1, 4), flow_steps=4)
    torch.testing.assert_close(end, torch.full((1, 4), (0 + 1 + 2 + 3) / 16))


def test_only_the_end_is_clipped() -> None:
    # Starting at -3 a step of 0.5 leads to -2.5: clipping on the way would give another end.
    end = integrate(Constant(2, 1, (8,)), torch.zeros(2, 2), torch.tensor([[-3.0], [0.8]]), 10)
    torch.testing.assert_close(end, torch.tensor([[-1.0], [1.0]]))

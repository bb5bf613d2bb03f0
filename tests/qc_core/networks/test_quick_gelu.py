"""The quick GELU equals torch's tanh form, forward and backward."""

import torch
from torch.nn import functional

from qc_core.networks.quick_gelu import quick_gelu


def gelu(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate="tanh")


def test_values_and_gradients_equal_torchs() -> None:
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64).requires_grad_()
    expected, got = gelu(x), quick_gelu(x)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-13)
    weight = torch.cos(torch.arange(len(x), dtype=x.dtype))
    (expected_slope,) = torch.autograd.grad((expected * weight).sum(), x)
    (slope,) = torch.autograd.grad((got * weight).sum(), x)
    torch.testing.assert_close(slope, expected_slope, rtol=0, atol=1e-13)


def test_bfloat16_is_rounded_once() -> None:
    x = torch.linspace(-12, 12, 4001).bfloat16().requires_grad_()
    exact = x.detach().double().requires_grad_()
    weight = torch.cos(torch.arange(len(x))).bfloat16()
    expected = gelu(exact)
    (expected_slope,) = torch.autograd.grad((expected * weight.double()).sum(), exact)
    got = quick_gelu(x)
    (slope,) = torch.autograd.grad((got * weight).sum(), x)
    with torch.no_grad():
        quiet = quick_gelu(x)
    assert got.dtype == quiet.dtype == slope.dtype == torch.bfloat16
    for value, true in ((got, expected), (quiet, expected), (slope, expected_slope)):
        # Half a unit in the last of eight binary digits, and float32's rounding.
        torch.testing.assert_close(value.double(), true, rtol=2**-8 + 1e-5, atol=1e-6)


def test_far_from_zero_it_returns_the_input_or_zero() -> None:
    x = torch.tensor([-1e8, -50.0, 50.0, 1e8])
    assert quick_gelu(x.clone()).tolist() == [0, 0, 50, 1e8]


def test_input_is_overwritten_only_without_gradients() -> None:
    x = torch.ones(3, requires_grad=True)
    quick_gelu(x * 1)
    with torch.no_grad():
        y = torch.ones(3)
        assert quick_gelu(y) is y
    assert x.tolist() == [1, 1, 1]

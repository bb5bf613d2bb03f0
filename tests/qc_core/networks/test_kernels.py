"""Whatever kernels a network computes with, it is the same network."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qc_core.agents.make import make_agent
from qc_core.config.settings import train_config
from qc_core.networks import kernels as arithmetic
from qc_core.networks.kernels import (
    CPU_FLOAT32,
    CPU_ROUNDED,
    PLAIN,
    Arithmetic,
    choose,
    using,
)
from qc_core.networks.mlp import MLP, Activation, Norm

CPU = torch.device("cpu")
# The part of float32 that bfloat16 keeps.
ROUNDING = 2.0**-8
LAYERS: list[tuple[Activation, Norm, int | None]] = [
    ("gelu", "none", None),
    ("gelu", "after", 2),
    ("relu", "before", 3),
]
KINDS = [
    (CPU_FLOAT32, 1e-5),
    (CPU_ROUNDED, 16 * ROUNDING),
    # What this machine takes by itself.
    (choose(CPU, "auto"), 16 * ROUNDING),
    (Arithmetic("plain bfloat16", hidden=torch.bfloat16), 16 * ROUNDING),
]


def network(activation: Activation, norm: Norm, members: int | None) -> MLP:
    torch.manual_seed(0)
    made = MLP(6, (32, 32, 32), 2, activation=activation, norm=norm, members=members)
    for parameter in (*made.biases, *made.shifts):
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def outputs_and_gradients(made: MLP, x: Tensor, kernels: Arithmetic) -> list[Tensor]:
    """What the network gives without gradient, with it, and the gradients of all it has."""
    leaf = x.clone().requires_grad_()
    with using(kernels):
        with torch.no_grad():
            quiet = made(x)
        loud = made(leaf)
    gradients = torch.autograd.grad((loud**2).mean(), [leaf, *made.parameters()])
    return [quiet, loud.detach(), *gradients]


@pytest.mark.parametrize(("activation", "norm", "members"), LAYERS)
@pytest.mark.parametrize(("kernels", "tolerance"), KINDS, ids=lambda k: getattr(k, "name", ""))
def test_outputs_and_gradients_are_plain_torchs(
    kernels: Arithmetic, tolerance: float, activation: Activation, norm: Norm, members: int | None
) -> None:
    made, x = network(activation, norm, members), torch.randn(64, 6)
    expected = outputs_and_gradients(made, x, PLAIN)
    got = outputs_and_gradients(made, x, kernels)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_bfloat16_is_only_between_hidden_layers() -> None:
    """Inputs and outputs that bfloat16 could not tell apart stay apart."""
    made = network("gelu", "none", None)
    with torch.no_grad():
        made.biases[-1].fill_(1000.0)
    x = torch.randn(1, 6).repeat(2, 1)
    x[1] += 1e-4
    with using(CPU_ROUNDED), torch.no_grad():
        outputs = made(x)
        hidden = functional.linear(x, made.weights[0], made.biases[0])
    assert not torch.equal(hidden[0], hidden[1])
    # At 1000 bfloat16 numbers are 4 apart.
    assert ((outputs - 1000) != 0).all() and (outputs - 1000).abs().max() < 4


def test_bfloat16_differs_from_float32() -> None:
    made, x = network("gelu", "none", None), torch.randn(64, 6)
    plain, rounded = (outputs_and_gradients(made, x, kernels) for kernels in (PLAIN, CPU_ROUNDED))
    assert all((a - b).norm() > 1e-4 * b.norm() for a, b in zip(rounded, plain, strict=True))


def test_multiplying_rounded_numbers_in_float32_is_multiplying_bfloat16() -> None:
    made, x = network("gelu", "after", 2), torch.randn(64, 6)
    native = Arithmetic("", hidden=torch.bfloat16, gelu=CPU_ROUNDED.gelu)
    (_, rounded, *_), (_, multiplied, *_) = (
        outputs_and_gradients(made, x, kernels) for kernels in (CPU_ROUNDED, native)
    )
    # Sums are taken in another order, and a rounding now and then falls otherwise.
    assert (rounded - multiplied).norm() < ROUNDING / 2 * multiplied.norm()


def test_onednns_gelu_behind_a_product_is_torchs() -> None:
    x, weight, bias = torch.randn(40, 24), torch.randn(16, 24) / 5, torch.randn(16)
    packed = arithmetic.CPU_BFLOAT16.pack(weight)
    got = arithmetic.CPU_BFLOAT16.dense_gelu(x, packed, bias)
    torch.testing.assert_close(got, PLAIN.dense_gelu(x, weight, bias), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_candidates_in_parts_are_the_candidates(rows: int) -> None:
    agent = make_agent(4, 2, train_config("qc", hidden_dims=(16, 16), num_samples=3))
    observation, noise = torch.randn(10, 4), torch.randn(10, *agent.noise_shape)
    with torch.no_grad():
        expected = agent.choose(observation, noise)
        with using(Arithmetic("", rows=rows)):
            torch.testing.assert_close(agent.choose(observation, noise), expected)


def test_plain_torch_is_used_outside_and_again_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), using(CPU_FLOAT32):
        assert arithmetic.current() is CPU_FLOAT32
        raise ZeroDivisionError
    assert arithmetic.current() is PLAIN


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert choose(CPU, "float32").hidden is None
    assert choose(CPU, "bfloat16").hidden == torch.bfloat16

"""Layers have the paper's order, epsilon, activation and initialisation."""

import math

import torch
from torch.nn import functional

from qc_core.networks.mlp import MLP


def test_hidden_layers_are_dense_then_tanh_gelu_then_norm() -> None:
    network = MLP(3, (4,), 2, norm="after")
    torch.nn.init.normal_(network.scales[0])
    torch.nn.init.normal_(network.shifts[0])
    x = torch.randn(5, 3)

    hidden = x @ network.weights[0].T + network.biases[0]
    hidden = (
        0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    )
    centred = hidden - hidden.mean(-1, keepdim=True)
    hidden = centred / torch.sqrt(hidden.var(-1, correction=0, keepdim=True) + 1e-6)
    hidden = hidden * network.scales[0] + network.shifts[0]
    expected = hidden @ network.weights[1].T + network.biases[1]

    torch.testing.assert_close(network(x), expected)


def test_norm_can_come_before_a_relu() -> None:
    network = MLP(3, (4,), 2, activation="relu", norm="before")
    torch.nn.init.normal_(network.shifts[0])
    x = torch.randn(5, 3)
    hidden = functional.layer_norm(
        x @ network.weights[0].T, (4,), network.scales[0], network.shifts[0], eps=1e-6
    )
    torch.testing.assert_close(network(x), torch.relu(hidden) @ network.weights[1].T)


def test_layer_norm_epsilon_is_1e_6() -> None:
    network = MLP(2, (8,), 1, norm="after")
    small = torch.randn(4, 2) * 1e-3
    hidden = functional.gelu(small @ network.weights[0].T, approximate="tanh")
    expected = functional.layer_norm(hidden, (8,), eps=1e-6) @ network.weights[1].T
    other = functional.layer_norm(hidden, (8,), eps=1e-5) @ network.weights[1].T
    torch.testing.assert_close(network(small), expected)
    assert not torch.allclose(network(small), other, rtol=1e-3)


def test_weights_start_xavier_uniform_and_biases_zero() -> None:
    network = MLP(100, (300,), 10)
    for weight, (fan_in, fan_out) in zip(network.weights, ((100, 300), (300, 10)), strict=True):
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert weight.shape == (fan_out, fan_in)
        assert weight.abs().max() <= bound
        torch.testing.assert_close(
            weight.std(), torch.tensor(bound / math.sqrt(3)), rtol=0.05, atol=0
        )
    assert all((bias == 0).all() for bias in network.biases)


def test_ensemble_members_start_different_and_are_independent() -> None:
    network = MLP(3, (4, 4), 1, norm="after", members=2)
    x = torch.randn(5, 3)
    first = network(x)
    assert first.shape == (2, 5, 1)
    assert not torch.allclose(first[0], first[1])
    with torch.no_grad():
        network.weights[0][1] += 1
    torch.testing.assert_close(network(x)[0], first[0])
    assert not torch.allclose(network(x)[1], first[1])

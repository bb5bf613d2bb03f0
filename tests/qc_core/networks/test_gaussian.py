"""The squashed Gaussian: likelihood, bounds and initialisation."""

import math

import numpy as np
import pytest
import torch

from qc_core.networks.gaussian import GaussianActor, TanhGaussian


def test_density_integrates_to_one() -> None:
    policy = TanhGaussian(torch.tensor([[0.3]]).double(), torch.tensor([[-0.5]]).double())
    grid = torch.linspace(-1 + 1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    density = policy.log_likelihood(grid[:, None]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-4)


def test_likelihood_of_a_sample_equals_the_likelihood_of_its_chunk() -> None:
    torch.manual_seed(0)
    policy = TanhGaussian(torch.randn(7, 3).double(), torch.randn(7, 3).double() * 0.3)
    chunk, log_likelihood = policy.sample(torch.randn(7, 3).double())
    assert chunk.abs().max() < 1
    torch.testing.assert_close(log_likelihood, policy.log_likelihood(chunk), rtol=1e-6, atol=1e-6)


def test_saturated_actions_have_a_finite_likelihood() -> None:
    policy = TanhGaussian(torch.tensor([[40.0]]), torch.tensor([[0.0]]))
    chunk, log_likelihood = policy.sample(torch.zeros(1, 1))
    assert chunk.item() == 1
    assert log_likelihood.item() == pytest.approx(
        -0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - 40), rel=1e-6
    )


def test_log_std_is_clipped_to_its_range() -> None:
    actor = GaussianActor(2, 3, (4,))
    with torch.no_grad():
        actor.log_std.biases[0].copy_(torch.tensor([-100.0, 0.5, 100.0]))
        actor.log_std.weights[0].zero_()
    np.testing.assert_allclose(actor(torch.ones(1, 2)).log_std_BL.detach(), [[-20, 0.5, 2]])


def test_layers_are_relu_without_norm_and_heads_start_different() -> None:
    torch.manual_seed(0)
    actor = GaussianActor(3, 2, (5, 4))
    x = torch.randn(6, 3)
    h = torch.relu(x @ actor.trunk.weights[0].T + actor.trunk.biases[0])
    h = torch.relu(h @ actor.trunk.weights[1].T + actor.trunk.biases[1])
    torch.testing.assert_close(actor(x).mean_BL, h @ actor.mean.weights[0].T)
    assert not torch.equal(actor.mean.weights[0], actor.log_std.weights[0])
    bound = math.sqrt(6 / (4 + 2))
    assert actor.mean.weights[0].abs().max() <= bound

"""The equations of Q-chunking and its baselines (arXiv 2507.07969), one function each.

Shapes: B batch, K critics, H horizon, A action, L = H·A.
"""

from __future__ import annotations

import torch
from torch import Tensor


def chunk_target(returns_B: Tensor, bootstrap_B: Tensor, next_values_KB: Tensor) -> Tensor:
    """The unbiased H-step backup: y = Σ γ^j r + γ^H · mask · mean_K Q̄(s', a').

    Args:
        bootstrap_B: γ^H · mask.
    """
    return returns_B + bootstrap_B * next_values_KB.mean(dim=0)


def critic_loss(values_KB: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
    """Mean over K and B of (Q - y)², windows of weight 0 counting zero."""
    return ((values_KB - target_B) ** 2 * weight_B).mean()


def flow_point(x0_BL: Tensor, x1_BL: Tensor, time_B1: Tensor) -> Tensor:
    """x_t on the straight line from noise x0 to data x1."""
    return (1 - time_B1) * x0_BL + time_B1 * x1_BL


def flow_matching_loss(
    velocity_BL: Tensor, x0_BL: Tensor, x1_BL: Tensor, valid_BH: Tensor
) -> Tensor:
    """Behaviour cloning: regress v(s, x_t, t) on x1 - x0; steps behind an end count zero."""
    error_BHA = ((velocity_BL - (x1_BL - x0_BL)) ** 2).reshape(*valid_BH.shape, -1)
    return (error_BHA * valid_BH[..., None]).mean()


def distillation_loss(one_step_BL: Tensor, flow_BL: Tensor) -> Tensor:
    """Mean of (μ(s, z) - flow(s, z))², over all steps, valid or not."""
    return ((one_step_BL - flow_BL) ** 2).mean()


def policy_value_loss(values_KB: Tensor) -> Tensor:
    """-mean Q(s, clip μ(s, z)): the one-step policy climbs the critics' mean."""
    return -torch.mean(values_KB)


def soft_actor_loss(values_KB: Tensor, log_likelihood_B: Tensor, temperature: Tensor) -> Tensor:
    """mean(α · log π(a | s) - mean_K Q(s, a)), the action being the policy's own."""
    return (temperature * log_likelihood_B - values_KB.mean(dim=0)).mean()


def temperature_loss(temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """α · (entropy - target): α falls while the policy has more entropy than it should."""
    return temperature * (entropy - target_entropy)


def likelihood_cloning_loss(log_likelihood_B: Tensor) -> Tensor:
    """-mean log π(a | s) of the data's chunks."""
    return -log_likelihood_B.mean()

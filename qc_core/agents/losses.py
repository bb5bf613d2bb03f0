"""The equations of Q-chunking and its baselines (arXiv 2507.07969), one function each.

Shapes: B batch, K critics, C actions per chunk, L flattened chunk (C · action size).
"""

from __future__ import annotations

import torch
from torch import Tensor


def chunk_target(returns_B: Tensor, bootstrap_B: Tensor, next_values_KB: Tensor) -> Tensor:
    """y = Σ_{j<H} γ^j r_{t+j} + γ^H · mask · mean_K Q̄(s_{t+H}, a').

    Source: the unbiased H-step backup of Q-chunking.

    Args:
        returns_B: the discounted sum of rewards.
        bootstrap_B: γ^H · mask.
        next_values_KB: the target critics at s_{t+H} and the policy's chunk a'.
    """
    return returns_B + bootstrap_B * next_values_KB.mean(dim=0)


def critic_loss(values_KB: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
    """mean_{K,B} w · (Q_k(s, a) - y)².

    Source: the critic loss of Q-chunking. The denominator counts windows of weight 0, too.
    """
    return ((values_KB - target_B) ** 2 * weight_B).mean()


def flow_point(x0_BL: Tensor, x1_BL: Tensor, time_B1: Tensor) -> Tensor:
    """x_t = (1 - t) · x0 + t · x1, on the straight line from noise x0 to data x1.

    Source: the behaviour-cloning flow of Q-chunking.
    """
    return (1 - time_B1) * x0_BL + time_B1 * x1_BL


def flow_bc_loss(velocity_BL: Tensor, x0_BL: Tensor, x1_BL: Tensor, valid_BC: Tensor) -> Tensor:
    """mean valid · (v(s, x_t, t) - (x1 - x0))².

    Source: the behaviour-cloning flow of Q-chunking. Steps after the episode's end have
    `valid` = 0, and the denominator counts them, too.
    """
    error_BCA = ((velocity_BL - (x1_BL - x0_BL)) ** 2).reshape(*valid_BC.shape, -1)
    return (error_BCA * valid_BC[..., None]).mean()


def distillation_loss(one_step_BL: Tensor, flow_BL: Tensor) -> Tensor:
    """mean (μ(s, z) - flow(s, z))².

    Source: the one-step policy of QC-FQL. It averages over all steps, valid or not.
    """
    return ((one_step_BL - flow_BL) ** 2).mean()


def policy_value_loss(values_KB: Tensor) -> Tensor:
    """-mean_{K,B} Q_k(s, clip μ(s, z)).

    Source: the one-step policy of QC-FQL.
    """
    return -torch.mean(values_KB)


def soft_actor_loss(values_KB: Tensor, log_likelihood_B: Tensor, temperature: Tensor) -> Tensor:
    """mean_B (β · log π(a | s) - mean_K Q_k(s, a)) with a ~ π(s).

    Source: the actor loss of RLPD.
    """
    return (temperature * log_likelihood_B - values_KB.mean(dim=0)).mean()


def temperature_loss(temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """β · (entropy - target entropy): β falls while the entropy is above its target.

    Source: the temperature of RLPD.
    """
    return temperature * (entropy - target_entropy)


def likelihood_bc_loss(log_likelihood_B: Tensor) -> Tensor:
    """-mean_B log π(a | s) of the data's chunks.

    Source: the behaviour-cloning term of QC-RLPD.
    """
    return -log_likelihood_B.mean()

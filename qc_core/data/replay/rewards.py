"""Transforms the environment's rewards for training."""

from __future__ import annotations

from torch import Tensor

from qc_core.config.settings import RewardTransform


def transform_rewards(rewards: Tensor, transform: RewardTransform) -> Tensor:
    """Transform rewards of any shape as `--data.reward-transform` requests.

    "sparse" is OGBench's sparse variant, r = -(r ≠ 0). "minus-one" maps robomimic's 0 and 1 to -1
    and 0.
    """
    if transform == "sparse":
        return -(rewards != 0).to(rewards.dtype)
    return rewards - 1 if transform == "minus-one" else rewards

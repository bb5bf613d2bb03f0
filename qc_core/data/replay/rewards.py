"""What learning sees of the environment's rewards."""

from __future__ import annotations

from torch import Tensor

from qc_core.config.settings import RewardTransform


def transform_rewards(rewards: Tensor, transform: RewardTransform) -> Tensor:
    """Rewards of any shape as `--data.reward-transform` says.

    "sparse" is OGBench's sparse variant, r = -(r ≠ 0); "minus-one" makes robomimic's 0 and 1
    into -1 and 0.
    """
    if transform == "sparse":
        return -(rewards != 0).to(rewards.dtype)
    return rewards - 1 if transform == "minus-one" else rewards

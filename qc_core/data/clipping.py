"""Compares recorded actions with the bounds of the environment; clips and reports few, not many."""

from __future__ import annotations

import numpy as np

from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec

# Rounding to float32 may move an action beyond its bound by this part of the range.
_TOLERANCE = 1e-5
# Actions that use less than this part of every range are probably in another unit.
_SMALL_RANGE = 0.1
_MAX_SHOWN = 3


class Clipping:
    """Clips actions and counts how many were outside of the bounds, and by how much.

    Args:
        name: the source, for messages.
        spec: of the environment or robot, with the bounds.
    """

    def __init__(self, name: str, spec: EnvironmentSpec) -> None:
        self._name, self._spec = name, spec
        self._low_A, self._high_A = np.array([spec.action_low, spec.action_high], np.float32)
        self._range_A = (self._high_A - self._low_A).astype(np.float64)
        self._values_A = np.zeros(spec.action_size, np.int64)
        self._lowest_A = np.full(spec.action_size, np.inf)
        self._highest_A = -self._lowest_A
        self._steps = 0
        self.clipped_steps = 0

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        """Return actions [N, A] within the bounds, and count those that were outside."""
        tolerance_A = _TOLERANCE * self._range_A
        outside = (actions < self._low_A - tolerance_A) | (actions > self._high_A + tolerance_A)
        self._values_A += outside.sum(axis=0)
        self.clipped_steps += int(outside.any(axis=1).sum())
        self._steps += len(actions)
        self._lowest_A = np.minimum(self._lowest_A, actions.min(axis=0))
        self._highest_A = np.maximum(self._highest_A, actions.max(axis=0))
        return actions.clip(self._low_A, self._high_A)

    def require(self, allowed: float, steps: int) -> None:
        """Refuse more actions outside of the bounds than a share of the steps (UsageError)."""
        if self.clipped_steps > allowed * steps:
            share = self.clipped_steps / self._steps
            raise UsageError(
                f"{self._name}: {self._outside()}; they are absolute or in another scale: convert "
                f"them to the bounds of {self._spec.id}, or clip them with "
                f"--data.max-clipped {min(1.0, np.ceil(share * 100) / 100):g}"
            )

    def notes(self) -> list[str]:
        """Return what a person should know about the range of the actions."""
        if self.clipped_steps:
            return [f"clipped: {self._outside()}"]
        varies_A = self._range_A > 0
        used_A = np.maximum(np.abs(self._lowest_A), np.abs(self._highest_A))[varies_A]
        limit_A = np.maximum(np.abs(self._low_A), np.abs(self._high_A))[varies_A]
        if len(used_A) and (used_A < _SMALL_RANGE * limit_A).all():
            share = float((used_A / limit_A).max())
            return [
                f"actions use at most {share:.2g} of the bounds of {self._spec.id}: they may be in "
                "another scale"
            ]
        normalised = (used_A <= 1).all() and (used_A > 0.9).any()
        if len(used_A) and normalised and (limit_A > 1.5).all():
            return [
                f"actions are within -1 to 1, but the bounds of {self._spec.id} are wider: if they "
                "are normalised, scale them to the bounds"
            ]
        return []

    def _outside(self) -> str:
        """Return the share of the steps with an action outside, and the worst actions."""
        excess_A = np.maximum(self._low_A - self._lowest_A, self._highest_A - self._high_A)
        excess_A = excess_A / np.where(self._range_A > 0, self._range_A, 1)
        worst = [i for i in np.argsort(-excess_A) if self._values_A[i]]
        shown = ", ".join(
            f"{self._spec.action_names[i]} from {self._lowest_A[i]:.4g} to "
            f"{self._highest_A[i]:.4g} (bounds {self._low_A[i]:g} to {self._high_A[i]:g}, "
            f"{self._values_A[i] / self._steps:.2%} outside)"
            for i in worst[:_MAX_SHOWN]
        )
        more = f" and {len(worst) - _MAX_SHOWN} more" if len(worst) > _MAX_SHOWN else ""
        return (
            f"{self.clipped_steps:,} of {self._steps:,} actions "
            f"({self.clipped_steps / self._steps:.2%}) are outside the bounds: {shown}{more}"
        )

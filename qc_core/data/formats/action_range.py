"""Finds the bounds of recorded actions; a few frames with wrong values do not decide them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# At most this share of the steps may be outliers on each side of an action, and at least one step.
_OUTLIERS = 1e-3
# Outliers of larger data are searched among this many steps.
_MAX_OUTLIERS = 1000
# With fewer steps, every value counts.
_MIN_ROWS = 20
# Relative margin around an action that is constant, so that its bounds can normalise it.
_MARGIN = 1e-3


class ActionRange:
    """Collects the range of actions [A] without the values that are far outside of all others.

    A value is an outlier if it is farther from the range of the other values than that range is
    wide, and if few steps are outliers. All other values are within the bounds.

    Args:
        size: numbers per action.
        rows: steps that will be added.
    """

    def __init__(self, size: int, rows: int) -> None:
        self._outliers = min(max(1, int(rows * _OUTLIERS)), _MAX_OUTLIERS)
        # The lowest and the highest values of each action, in order.
        self._lowest = self._highest = np.empty((0, size))

    def add(self, actions: np.ndarray) -> None:
        """Add actions [N, A]."""
        # The negative of an unsigned integer is another one.
        numbers = actions.astype(np.float64)
        self._lowest = self._smallest(self._lowest, numbers)
        self._highest = -self._smallest(-self._highest, -numbers)[::-1]

    def _smallest(self, known: np.ndarray, actions: np.ndarray) -> np.ndarray:
        values = np.concatenate([known, actions])
        count = max(self._outliers + 1, _MIN_ROWS)
        if len(values) > count:
            values = np.partition(values, count - 1, axis=0)[:count]
        return np.sort(values, axis=0)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the low and the high bounds [A]."""
        low, high = self._within_limits()
        margin = np.where(low == high, _MARGIN * np.maximum(1, np.abs(low)), 0)
        return low - margin, high + margin

    def note(self, names: Sequence[str]) -> str:
        """Return which actions have outliers, '' if none."""
        low, high = self._within_limits()
        lowest, highest = self._lowest[0], self._highest[-1]
        found = [
            f"{name} reaches {lowest[i]:g} to {highest[i]:g}, its bounds are {low[i]:g} to "
            f"{high[i]:g}"
            for i, name in enumerate(names)
            if lowest[i] < low[i] or highest[i] > high[i]
        ]
        return f"outliers do not widen the bounds of actions: {'; '.join(found)}" if found else ""

    def _within_limits(self) -> tuple[np.ndarray, np.ndarray]:
        lowest, highest = self._lowest, self._highest
        if len(lowest) < _MIN_ROWS:
            return lowest[0], highest[-1]
        inner_low, inner_high = lowest[self._outliers], highest[-1 - self._outliers]
        # An action with one value apart from few others is a switch: it has no outliers.
        width = np.where(inner_high > inner_low, inner_high - inner_low, np.inf)
        low = np.where(lowest >= inner_low - width, lowest, np.inf).min(axis=0)
        high = np.where(highest <= inner_high + width, highest, -np.inf).max(axis=0)
        return low, high

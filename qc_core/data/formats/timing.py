"""Compares recorded timestamps with the frame rate that a file states."""

from __future__ import annotations

import numpy as np

from qc_core.errors import UsageError

# Longer steps than this many control intervals are gaps.
_GAP = 1.5
# Relative difference between the median step and the control interval.
_TOLERANCE = 0.2
# The median is that of the first steps.
_MEDIAN_STEPS = 100_000


class Timing:
    """Collects the time between frames.

    Args:
        what: the file that states the frame rate, for messages.
        fps: frames per second.
    """

    def __init__(self, what: str, fps: float) -> None:
        self._what, self._fps = what, fps
        self._previous = np.nan
        self._first_steps: list[np.ndarray] = []
        self._steps = self._gaps = 0
        self._longest = 0.0

    def add(self, seconds: np.ndarray, starts: np.ndarray) -> None:
        """Add the timestamps [N] of consecutive frames; `starts` marks first frames of episodes."""
        steps = np.diff(seconds.astype(np.float64), prepend=self._previous)[~starts]
        self._previous = float(seconds[-1])
        if not len(steps):
            return
        if self._steps < _MEDIAN_STEPS:
            self._first_steps.append(steps)
        self._steps += len(steps)
        self._gaps += int((steps * self._fps > _GAP).sum())
        self._longest = max(self._longest, float(steps.max()))

    @property
    def _median(self) -> float:
        return float(np.median(np.concatenate(self._first_steps))) if self._steps else 0.0

    def require(self) -> None:
        """Refuse timestamps that contradict the frame rate (UsageError).

        Timestamps that do not increase say nothing about it.
        """
        median = self._median
        if median > 0 and abs(median * self._fps - 1) > _TOLERANCE:
            raise UsageError(
                f"{self._what}: fps is {self._fps:g}, but timestamps are {median:.4g} s apart, "
                f"which is {1 / median:.4g} fps: correct fps, because the control interval of the "
                "policy follows from it"
            )

    def note(self) -> str:
        """Return how many frames are missing, '' if none."""
        if not self._gaps or self._median <= 0:
            return ""
        return (
            f"{self._gaps:,} of {self._steps:,} steps take longer than {_GAP:g} control intervals, "
            f"up to {self._longest:.3g} s: frames are missing there"
        )

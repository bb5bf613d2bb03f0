"""The score of a fine-tuned policy, by which trials are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qc_core.documents import with_keys_renamed


class Score(msgspec.Struct, frozen=True):
    """Means over the episodes of one evaluation of a trial.

    Attributes:
        online_step: environment steps of fine-tuning so far.
        success: success rate in [0, 1].
        steps: control steps; a failure counts as the episode limit.
        episode_return: undiscounted sum of rewards.
        reports_success: the environment reports success; without it, returns are compared.
    """

    online_step: int
    success: float
    steps: float
    episode_return: float
    reports_success: bool

    @property
    def value(self) -> float:
        """The objective of the study; higher is better."""
        return self.success if self.reports_success else self.episode_return

    @property
    def text(self) -> str:
        """The score for messages."""
        if self.reports_success:
            return f"success {self.success:.0%}, {self.steps:.0f} steps"
        return f"return {self.episode_return:.1f}"


def score_of(point: Mapping[str, float]) -> Score:
    """Return the score of a point of a learning curve."""
    return Score(
        int(point["step"]),
        point["success"],
        point["steps"],
        point["return"],
        bool(point.get("reports-success", 1.0)),
    )


def scores_from(content: Any) -> list[Score]:
    """Return scores from plain JSON values (msgspec.ValidationError: they are not scores).

    Earlier releases wrote `success_told`.
    """
    if isinstance(content, list):
        names = {"success_told": "reports_success"}
        content = [with_keys_renamed(entry, names) for entry in content]
    return msgspec.convert(content, list[Score])

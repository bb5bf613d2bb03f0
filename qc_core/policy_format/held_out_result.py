"""Offline figures of a policy, as evaluations, contracts and gate records contain them."""

from __future__ import annotations

from typing import Literal

from qc_core.documents import Document
from qc_core.statistics import Estimate


class HeldOutResult(Document, frozen=True, kw_only=True):
    """Offline figures of one policy, means over held-out episodes with 95% intervals.

    Attributes:
        kind: `bc` is the behaviour-cloning policy of a checkpoint, `learned` its final policy.
        weights: SHA-256 of the checkpoint's weights.
        episodes: number of held-out episodes.
        log_likelihood: log-density of the recorded actions under the policy, per number of a
            chunk, where an action's range is -1 to 1; a kernel estimate from samples.
        value: the critic's value of the policy's chunks. `recorded_value`: of the recorded chunks.
            None for a policy without a critic, such as an exported one.
    """

    name: str
    kind: Literal["bc", "learned"]
    weights: str
    episodes: int
    log_likelihood: Estimate
    value: Estimate | None = None
    recorded_value: Estimate | None = None

    @property
    def fit(self) -> str:
        """The log-likelihood for people."""
        return self.log_likelihood.text("{:.2f}", "95% interval ")

"""The evaluation document: how the policies of a run compare on the same episodes."""

from __future__ import annotations

from typing import Any, Literal

from qc_core import documents
from qc_core.documents import Document
from qc_core.envs.episode_result import EpisodeSummary
from qc_core.policy_format.episode_result import with_current_names
from qc_core.policy_format.held_out_result import HeldOutResult
from qc_core.statistics import Estimate

# Names of the policies.
BEHAVIOUR_CLONING, OFFLINE, ONLINE = "behaviour cloning", "offline Q-learning", "fine-tuned online"
UNTRAINED = "before any training"
SCHEMA_VERSION = 2
_NAMES_BEFORE_2 = {"execution-length": "execution-horizon"}


class PolicyResult(EpisodeSummary, frozen=True, kw_only=True):
    """One policy's episodes, and their differences to the first policy's episodes.

    Attributes:
        kind: `bc` is the behaviour-cloning policy of a checkpoint, `learned` its final policy.
        weights: SHA-256 of the checkpoint's weights.
        success_gain: success rate minus that of the first policy, paired by seed.
        steps_saved: steps of the first policy minus those of this one, paired by seed.
        return_gain: return minus that of the first policy; None in files of early releases.
    """

    name: str
    kind: Literal["bc", "learned"]
    weights: str
    success_gain: Estimate
    steps_saved: Estimate
    return_gain: Estimate | None = None


class Evaluation(Document, frozen=True, kw_only=True):
    """Policies of one run, compared on the same episodes.

    Without a simulator no episodes are played: `policies` is empty, and `held_out` has offline
    figures on recorded episodes.

    Attributes:
        episode_limit: maximum control steps of an episode.
        episodes: episodes per policy, with seeds from `first_seed`.
        failed_episodes: further seeds, left out because the environment failed.
        execution_horizon: actions of each chunk that were executed.
    """

    environment: str
    episode_limit: int
    first_seed: int
    episodes: int
    execution_horizon: int
    policies: tuple[PolicyResult, ...]
    held_out: tuple[HeldOutResult, ...] = ()
    failed_episodes: int = 0
    schema_version: int = SCHEMA_VERSION

    def policy(self, name: str) -> PolicyResult | None:
        """Return the result of a policy, or None if it was not evaluated."""
        return next((policy for policy in self.policies if policy.name == name), None)

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        if documents.schema_version(content, (1, SCHEMA_VERSION), what, "evaluation") != 1:
            return content
        renamed = documents.with_keys_renamed(content, _NAMES_BEFORE_2)
        # Damaged content passes unchanged, so that parsing names the fault.
        if isinstance(policies := renamed.get("policies"), list):
            renamed["policies"] = [_converted_policy(policy) for policy in policies]
        return {**renamed, "schema-version": SCHEMA_VERSION}


def _converted_policy(policy: Any) -> Any:
    policy = with_current_names(policy)
    if isinstance(policy, dict) and policy.get("kind") == "cloned":
        return {**policy, "kind": "bc"}
    return policy

"""The evaluation document: how the policies of a run compare on the same episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from qc_core.documents import Document
from qc_core.envs.episode_result import EpisodeSummary
from qc_core.statistics import Estimate

SCHEMA_VERSION = 2
# Keys of schema version 1 with their current names, per level of the document.
_RENAMED = {"execution-length": "execution-horizon"}
_RENAMED_IN_POLICY = {"success-told": "reports-success", "outcomes": "episode-results"}
_RENAMED_IN_EPISODE = {"episode_return": "episode-return", "reports_success": "reports-success"}


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

    Attributes:
        episode_limit: maximum control steps of an episode.
        episodes: episodes per policy, with seeds from `first_seed`.
        execution_horizon: actions of each chunk that were executed.
    """

    environment: str
    episode_limit: int
    first_seed: int
    episodes: int
    execution_horizon: int
    policies: tuple[PolicyResult, ...]
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        if content.get("schema-version") != 1:
            return content
        return {
            **_renamed(content, _RENAMED),
            "schema-version": SCHEMA_VERSION,
            "policies": _each(content.get("policies"), _upgraded_policy),
        }


def _upgraded_policy(policy: Any) -> Any:
    if not isinstance(policy, dict):
        return policy
    policy = _renamed(policy, _RENAMED_IN_POLICY)
    kind, results = policy.get("kind"), policy.get("episode-results", [])
    return {
        **policy,
        "kind": "bc" if kind == "cloned" else kind,
        "episode-results": _each(results, lambda result: _renamed(result, _RENAMED_IN_EPISODE)),
    }


# Damaged content passes unchanged, so that parsing names the fault.
def _each(content: Any, upgrade: Callable[[Any], Any]) -> Any:
    return [upgrade(entry) for entry in content] if isinstance(content, list) else content


def _renamed(content: Any, names: dict[str, str]) -> Any:
    if not isinstance(content, dict):
        return content
    return {names.get(key, key): value for key, value in content.items()}

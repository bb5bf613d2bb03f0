"""The result of one episode, as evaluations and gate records list it."""

from __future__ import annotations

from typing import Any

from qc_core import documents
from qc_core.documents import Document

# Keys of older documents with their current names: of one policy, and of one of its episodes.
_OLD_NAMES = {"outcomes": "episode-results", "success-told": "reports-success"}
_OLD_EPISODE_NAMES = {"episode_return": "episode-return", "success_told": "reports-success"}


class EpisodeResult(Document, frozen=True):
    """Result of one episode.

    Attributes:
        steps: control steps until the episode ended.
        episode_return: undiscounted sum of rewards.
        reports_success: at least one step had `info["success"]` or `info["is_success"]`.
    """

    seed: int
    success: bool
    steps: int
    episode_return: float
    reports_success: bool = True


def with_current_names(policy: Any) -> Any:
    """Return the JSON object of one policy's results with the current keys, also in its episodes.

    Damaged content passes unchanged, so that parsing names the fault.
    """
    policy = documents.with_keys_renamed(policy, _OLD_NAMES)
    if not isinstance(policy, dict) or not isinstance(policy.get("episode-results"), list):
        return policy
    episodes = [
        documents.with_keys_renamed(episode, _OLD_EPISODE_NAMES)
        for episode in policy["episode-results"]
    ]
    return {**policy, "episode-results": episodes}

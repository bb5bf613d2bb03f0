"""How a version did at the gate: written once, when it was decided.

policies/NAME/versions/VERSION/gate.json  beside the manifest, which was there before any game
"""

from __future__ import annotations

import json
from typing import Any

from qc_core.documents import Document
from qc_core.errors import RunError, UsageError
from qc_core.files import parse_json, require_fields
from qc_core.registry.manifest import version_prefix
from qc_core.statistics import Estimate
from qc_core.store.objects import NoSuchObject, ObjectStore

SCHEMA_VERSION = 2
_NAMES_BEFORE_2 = {
    "episodes-at-most": "max-episodes",
    "wins-less-losses": "net-wins",
    "success-told": "reports-success",
}
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "champion": bool,
    "champion-before": (str, type(None)),
    "rule": str,
    "decision": str,
    "reason": str,
    "episodes": int,
    "max-episodes": int,
    "results": dict,
}


class EpisodeRecord(Document, frozen=True, rename=None):
    """One episode that a policy played at the gate.

    Attributes:
        steps: control steps until success or the end of the episode.
        episode_return: undiscounted sum of rewards.
        reports_success: whether the environment reported at any step if it succeeded.
    """

    seed: int
    success: bool
    steps: int
    episode_return: float
    reports_success: bool = True


class PlayerResult(Document, frozen=True, kw_only=True):
    """The result of one policy at the gate.

    Attributes:
        steps: a failed episode counts the episode limit.
        mean_return: mean over the episodes; it has no interval, because returns have no bounds.
    """

    success: Estimate
    steps: Estimate
    mean_return: float | None = None
    outcomes: tuple[EpisodeRecord, ...] = ()


class GateRecord(Document, frozen=True, kw_only=True):
    """The decision of the gate about a version, with its reasons.

    Attributes:
        champion: whether the version passed and became champion.
        champion_before: the version it played against; None if there was no champion.
        rule: the rule of the decision, in words.
        decision: `passed`, `failed` or `undecided`.
        reason: the figures that led to the decision, in words.
        first_seed: the episodes have this seed and those after it.
        episodes: episodes that each policy played, at most `max_episodes`.
        reports_success: whether the environment reports success; if not, returns decided.
        steps_saved: steps per episode that the challenger needs less than the champion.
        success_gain: success rate of the challenger minus that of the champion.
        net_wins: wins minus losses of the challenger per episode, by return.
        results: results of `champion` and `challenger`.
    """

    schema_version: int = SCHEMA_VERSION
    champion: bool
    champion_before: str | None
    rule: str
    decision: str
    reason: str
    environment: str | None = None
    episode_limit: int | None = None
    first_seed: int | None = None
    episodes: int
    max_episodes: int
    reports_success: bool = True
    steps_saved: Estimate | None = None
    success_gain: Estimate | None = None
    net_wins: Estimate | None = None
    results: dict[str, PlayerResult]

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        # The first records had no schema version.
        if content.get("schema-version", 1) != 1:
            return content
        renamed = {_NAMES_BEFORE_2.get(key, key): value for key, value in content.items()}
        return {**renamed, "schema-version": SCHEMA_VERSION}


def write_gate_record(store: ObjectStore, name: str, version: str, content: dict[str, Any]) -> None:
    """Keep the record with the version (RunError: it has another already)."""
    key = _key(name, version)
    record = (json.dumps(content, sort_keys=True) + "\n").encode()
    if not store.put_if(key, record, None):
        raise RunError(f"{key} in {store.describe()} is there already: it is written once")


def read_gate_record(store: ObjectStore, name: str, version: str) -> dict[str, Any] | None:
    """The record of a version, None if it was never at the gate (RunError: damaged)."""
    key = _key(name, version)
    try:
        content = parse_json(store.get(key))
        require_fields(content, _FIELDS, key)
    except NoSuchObject:
        return None
    except (ValueError, UsageError) as error:
        raise RunError(f"{key} in {store.describe()} is damaged") from error
    return content


def has_gate_record(store: ObjectStore, name: str, version: str) -> bool:
    """Whether it was decided how the version did at the gate; a damaged record says so too."""
    try:
        store.get(_key(name, version))
    except NoSuchObject:
        return False
    return True


def _key(name: str, version: str) -> str:
    return version_prefix(name, version) + "gate.json"

"""The gate record of a version: the result of its match against the champion, written once.

policies/NAME/versions/VERSION/gate.json
"""

from __future__ import annotations

from typing import Any

from qc_core import documents
from qc_core.documents import Document
from qc_core.errors import RunError, UsageError
from qc_core.policy_format.episode_result import EpisodeResult, with_current_names
from qc_core.registry.manifest import version_prefix
from qc_core.statistics import Estimate
from qc_core.store.objects import NoSuchObject, ObjectStore

SCHEMA_VERSION = 2
_NAMES_BEFORE_2 = {
    "episodes-at-most": "max-episodes",
    "wins-less-losses": "net-wins",
    "success-told": "reports-success",
}


class PlayerResult(Document, frozen=True, kw_only=True):
    """The result of one policy at the gate.

    Attributes:
        steps: a failed episode counts the episode limit.
        mean_return: mean over the episodes; it has no interval, because returns have no bounds.
        episode_results: every episode, in the order of the seeds.
    """

    success: Estimate
    steps: Estimate
    mean_return: float | None = None
    episode_results: tuple[EpisodeResult, ...] = ()


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
        # The first records had no schema version. Newer versions are read, as unknown fields are.
        if content.get("schema-version", 1) != 1:
            return content
        renamed = documents.with_keys_renamed(content, _NAMES_BEFORE_2)
        if isinstance(results := renamed.get("results"), dict):
            renamed["results"] = {
                player: with_current_names(result) for player, result in results.items()
            }
        return {**renamed, "schema-version": SCHEMA_VERSION}


def write_gate_record(store: ObjectStore, name: str, version: str, record: GateRecord) -> None:
    """Store the record with the version (RunError: the version already has a record)."""
    key = _key(name, version)
    if not store.put_if(key, documents.encode(record), None):
        raise RunError(f"{key} in {store.describe()} already exists: it is written only once")


def read_gate_record(store: ObjectStore, name: str, version: str) -> GateRecord | None:
    """Return the record of a version, None if it was never at the gate (RunError: damaged)."""
    key = _key(name, version)
    try:
        return documents.parse(store.get(key), GateRecord, key)
    except NoSuchObject:
        return None
    except UsageError as error:
        raise RunError(f"{key} in {store.describe()} is damaged") from error


def has_gate_record(store: ObjectStore, name: str, version: str) -> bool:
    """Return whether the gate has decided about a version, even if its record is damaged."""
    try:
        store.get(_key(name, version))
    except NoSuchObject:
        return False
    return True


def _key(name: str, version: str) -> str:
    return version_prefix(name, version) + "gate.json"

"""The gate record is written once and stored with the version."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from qc_core import documents
from qc_core.errors import RunError, UsageError
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.registry.gate_record import GateRecord, read_gate_record, write_gate_record
from qc_core.registry.registry import Registry
from qc_core.registry.removal import delete_version
from qc_core.store.objects import ObjectStore

RECORD = GateRecord(
    champion=False,
    champion_before=None,
    rule="better",
    decision="undecided",
    reason="not shown to be better",
    episodes=50,
    max_episodes=50,
    results={},
)


def test_the_record_is_stored_and_deleted_with_its_version(
    registry: Registry, store: ObjectStore, small_policy: Path, tmp_path: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    assert registry.details(f"cube:{version}").gate is None
    write_gate_record(store, "cube", version, RECORD)
    assert registry.details(f"cube:{version}").gate == RECORD
    registry.pull(f"cube:{version}", tmp_path / "pulled")
    assert {path.name for path in (tmp_path / "pulled").iterdir()} == {
        path.name for path in small_policy.iterdir()
    }
    delete_version(store, "cube", version)
    assert list(store.keys("policies/cube/versions/")) == []


def test_the_record_is_written_once(
    registry: Registry, store: ObjectStore, small_policy: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    write_gate_record(store, "cube", version, RECORD)
    with pytest.raises(RunError, match=r"gate\.json in .* already exists"):
        write_gate_record(store, "cube", version, replace(RECORD, champion=True))
    assert read_gate_record(store, "cube", version) == RECORD


@pytest.mark.parametrize("content", [b"half {", b"[]", b'{"champion": true}', b"[" * 100_000])
def test_a_damaged_record_is_named(store: ObjectStore, content: bytes) -> None:
    store.put("policies/cube/versions/1/gate.json", content)
    with pytest.raises(RunError, match=r"versions/1/gate\.json in .* is damaged"):
        read_gate_record(store, "cube", "1")


def test_a_record_of_the_first_schema_is_read(store: ObjectStore) -> None:
    interval = {"value": 0.5, "low": 0.25, "high": 0.75}
    outcome = {"seed": 7, "success": False, "steps": 200, "episode_return": -3.0}
    old = {
        "schema-version": 1,
        "champion": True,
        "champion-before": "20260101T000000-1",
        "rule": "better",
        "decision": "passed",
        "reason": "better",
        "environment": "Pendulum-v1",
        "success-told": False,
        "episode-limit": 200,
        "first-seed": 7,
        "episodes": 1,
        "episodes-at-most": 40,
        "wins-less-losses": interval,
        "results": {
            "challenger": {
                "success": interval,
                "steps": interval,
                "mean-return": -3.0,
                "outcomes": [{**outcome, "success_told": False}],
            }
        },
    }
    store.put("policies/cube/versions/1/gate.json", json.dumps(old).encode())
    record = read_gate_record(store, "cube", "1")
    assert record is not None
    assert (record.max_episodes, record.reports_success, record.first_seed) == (40, False, 7)
    assert record.net_wins is not None and record.net_wins.low == 0.25
    assert record.results["challenger"].episode_results == (
        EpisodeResult(7, False, 200, -3.0, reports_success=False),
    )
    new = documents.to_json(record)
    assert not {"episodes-at-most", "wins-less-losses", "success-told"} & set(new)
    assert list(new["results"]["challenger"]["episode-results"][0]) == [
        "seed",
        "success",
        "steps",
        "episode-return",
        "reports-success",
    ]
    assert documents.convert(new, GateRecord, "record") == record


def test_a_record_of_a_newer_schema_is_read() -> None:
    newer = {**documents.to_json(RECORD), "schema-version": 9, "new": 1}
    assert documents.convert(newer, GateRecord, "record").reason == RECORD.reason


@pytest.mark.parametrize("results", [3, {"champion": 3}, {"champion": {"outcomes": [3]}}])
def test_damaged_results_of_the_first_schema_are_refused(results: Any) -> None:
    old = {**documents.to_json(RECORD), "schema-version": 1, "results": results}
    with pytest.raises(UsageError, match="record is damaged: "):
        documents.convert(old, GateRecord, "record")

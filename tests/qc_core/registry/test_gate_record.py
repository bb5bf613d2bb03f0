"""What the gate said of a version is written once, beside files that nothing changes."""

from pathlib import Path

import pytest

from qc_core.errors import RunError
from qc_core.registry.gate_record import read_gate_record, write_gate_record
from qc_core.registry.registry import Registry
from qc_core.registry.removal import delete_version
from qc_core.store.objects import ObjectStore

RECORD = {
    "champion": False,
    "champion-before": None,
    "rule": "better",
    "decision": "undecided",
    "reason": "not shown to be better",
    "episodes": 50,
    "max-episodes": 50,
    "results": {},
}


def test_it_is_kept_with_the_version_and_goes_with_it(
    registry: Registry, store: ObjectStore, small_policy: Path, tmp_path: Path
) -> None:
    version = registry.publish(small_policy, "cube")
    assert registry.account(f"cube:{version}")["gate"] is None
    write_gate_record(store, "cube", version, RECORD)
    assert registry.account(f"cube:{version}")["gate"] == RECORD
    registry.pull(f"cube:{version}", tmp_path / "pulled")
    assert {path.name for path in (tmp_path / "pulled").iterdir()} == {
        path.name for path in small_policy.iterdir()
    }
    delete_version(store, "cube", version)
    assert list(store.keys("policies/cube/versions/")) == []


def test_it_is_written_once(registry: Registry, store: ObjectStore, small_policy: Path) -> None:
    version = registry.publish(small_policy, "cube")
    write_gate_record(store, "cube", version, RECORD)
    with pytest.raises(RunError, match=r"gate\.json in .* is there already"):
        write_gate_record(store, "cube", version, {**RECORD, "champion": True})
    assert read_gate_record(store, "cube", version) == RECORD


@pytest.mark.parametrize("content", [b"half {", b"[]", b'{"champion": true}', b"[" * 100_000])
def test_a_damaged_one_is_named(store: ObjectStore, content: bytes) -> None:
    store.put("policies/cube/versions/1/gate.json", content)
    with pytest.raises(RunError, match=r"versions/1/gate\.json in .* is damaged"):
        read_gate_record(store, "cube", "1")

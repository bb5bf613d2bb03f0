"""A policy leads to its parents, their data and their gates; the same data are nothing new."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replace_fields

from qc_core import documents
from qc_core.cli.main import main
from qc_core.config.settings import Config
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.policy_folder import CONTRACT, write_checksums
from qc_core.registry.gate_record import write_gate_record
from qc_core.registry.registry import Registry
from qc_core.retraining.lineage import find_new_data, lineage
from qc_core.store.open import open_store
from tests.qc_core.registry.policy_folders import write_policy
from tests.qc_core.registry.test_gate_record import RECORD

OLD: dict[str, Any] = {"kind": "collect", "transitions": 80, "episodes": 2, "digest": "a" * 64}
NEW: dict[str, Any] = {"kind": "store", "transitions": 40, "episodes": 1, "digest": "b" * 64}
BOTH = {"kind": "joined", "digest": "c" * 64, "sources": [OLD, NEW]}


def source(content: dict[str, Any]) -> DataSource:
    return documents.convert(content, DataSource, "source")


def publish(folder: Path, origin: dict[str, Any], parent: str | None) -> str:
    write_policy(folder, seed=0)
    contract = json.loads((folder / CONTRACT).read_text())
    contract["provenance"] = {"dataset-source": origin, "parent": parent}
    (folder / CONTRACT).write_text(json.dumps(contract))
    write_checksums(folder)
    return Registry(open_store()).publish(folder, "smoke", run_id=folder.name)


@pytest.fixture
def first(tmp_path: Path) -> str:
    return publish(tmp_path / "run-1", OLD, None)


@pytest.fixture
def second(tmp_path: Path, first: str) -> str:
    version = publish(tmp_path / "run-2", BOTH, f"smoke:{first}")
    write_gate_record(open_store(), "smoke", version, replace_fields(RECORD, champion_before=first))
    return version


def began_with(config: Config, version: str) -> Config:
    return replace(config, train=replace(config.train, warm_start=version))


def test_the_chain_of_parents_is_told(first: str, second: str) -> None:
    chain = lineage(open_store(), f"smoke:{second}")
    assert [entry["policy"] for entry in chain] == [f"smoke:{second}", f"smoke:{first}"]
    assert [entry["run"] for entry in chain] == ["run-2", "run-1"]
    assert [entry["data"] for entry in chain] == [[OLD, NEW], [OLD]]
    assert chain[0]["gate"]["reason"] == "not shown to be better" and chain[1]["gate"] is None


def test_a_parent_that_was_deleted_is_still_named(
    first: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policies", "delete", f"smoke:{first}"]) == 0
    capsys.readouterr()
    assert main(["policies", "lineage", f"smoke:{second}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "collect: 2 episodes, aaaaaaaaaaaa" in lines[1] and "not shown to be better" in lines[1]
    assert lines[2].split() == ["store:", "1", "episodes,", "bbbbbbbbbbbb"]
    assert lines[3].split()[:2] == [f"smoke:{first}", "deleted"]


def test_the_same_data_are_nothing_new(config: Config, first: str) -> None:
    news = find_new_data(began_with(config, first), source(OLD), open_store())
    assert not news.new and news.text.startswith(f"nothing new: smoke:{first} has learned")
    assert find_new_data(began_with(config, first), source(BOTH), open_store()).new
    assert find_new_data(
        began_with(config, first), source({**OLD, "digest": "d" * 64}), open_store()
    ).new


def test_a_retraining_that_lost_is_not_repeated(config: Config, first: str, second: str) -> None:
    news = find_new_data(began_with(config, first), source(BOTH), open_store())
    assert not news.new and f"smoke:{second}" in news.text
    # The order of the sources makes no difference.
    other = {**BOTH, "sources": [NEW, OLD]}
    assert not find_new_data(began_with(config, first), source(other), open_store()).new


def test_a_damaged_version_of_long_ago_hinders_no_retraining(
    config: Config, first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store().put(f"policies/smoke/versions/{first}/manifest.json", b"")
    assert find_new_data(
        began_with(config, second), source({**OLD, "digest": "d" * 64}), open_store()
    ).new
    assert f"policies/smoke/versions/{first}/manifest.json" in capsys.readouterr().err


def test_a_child_that_never_came_to_the_gate_does_not_count(
    config: Config, first: str, tmp_path: Path
) -> None:
    publish(tmp_path / "run-broken-off", BOTH, f"smoke:{first}")
    assert find_new_data(began_with(config, first), source(BOTH), open_store()).new


def test_what_begins_anew_always_has_something_to_learn(config: Config, first: str) -> None:
    assert find_new_data(config, source(OLD), open_store()).new

"""The lineage of a policy lists its ancestors, their data and their gate decisions."""

import json

import pytest

from qc_core.cli.main import main
from qc_core.retraining.lineage import LineageEntry, lineage
from qc_core.store.open import open_store
from tests.qc_core.retraining.versions import NEW, OLD


def test_lineage_lists_the_version_and_its_parents(first: str, second: str) -> None:
    chain = lineage(open_store(), f"smoke:{second}")
    entries = [entry for entry in chain if isinstance(entry, LineageEntry)]
    assert [entry.policy for entry in chain] == [f"smoke:{second}", f"smoke:{first}"]
    assert [entry.run for entry in entries] == ["run-2", "run-1"]
    assert [entry.data for entry in entries] == [(OLD.summary(), NEW.summary()), (OLD.summary(),)]
    newest, oldest = entries
    assert newest.gate is not None and oldest.gate is None
    assert newest.gate.reason == "not shown to be better"


def test_a_deleted_parent_is_listed_as_deleted(
    first: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policies", "delete", f"smoke:{first}"]) == 0
    capsys.readouterr()
    assert main(["policies", "lineage", f"smoke:{second}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "collect: 2 episodes, aaaaaaaaaaaa" in lines[1] and "not shown to be better" in lines[1]
    assert lines[2].split() == ["store:", "1", "episodes,", "bbbbbbbbbbbb"]
    assert lines[3].split()[:2] == [f"smoke:{first}", "deleted"]
    assert main(["policies", "lineage", f"smoke:{second}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {"policy": f"smoke:{first}"}

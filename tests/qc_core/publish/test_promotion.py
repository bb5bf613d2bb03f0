"""Promotion documents of older releases are read."""

from pathlib import Path

from qc_core.documents import read
from qc_core.files import write_json
from qc_core.publish.promotion import Promotion
from qc_core.statistics import Estimate


def test_a_document_of_schema_version_2_is_read(tmp_path: Path) -> None:
    interval = {"value": 0.5, "low": 0.0, "high": 1.0}
    gate = {
        "schema-version": 1,
        "champion": True,
        "champion-before": "1",
        "rule": "better",
        "decision": "passed",
        "reason": "better: more wins",
        "episodes": 20,
        "episodes-at-most": 50,
        "success-told": False,
        "wins-less-losses": interval,
        "results": {"champion": {"success": interval, "steps": interval, "mean-return": -9.0}},
    }
    old = {
        "schema-version": 2,
        "name": "cube",
        "version": "2",
        "store": "a folder",
        "champion": True,
        "became": "the new champion",
        "gate": gate,
    }
    write_json(tmp_path / "promotion.json", old)
    promotion = read(tmp_path / "promotion.json", Promotion)
    assert (promotion.schema_version, promotion.gate.schema_version) == (3, 2)
    assert (promotion.gate.max_episodes, promotion.gate.reports_success) == (50, False)
    assert promotion.gate.net_wins == Estimate(0.5, 0.0, 1.0)
    assert promotion.summary == "cube:2 is the new champion: better: more wins"

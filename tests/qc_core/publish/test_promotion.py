"""Promotion documents of older releases are read."""

from pathlib import Path
from typing import Any

import pytest

from qc_core.documents import read
from qc_core.errors import UsageError
from qc_core.files import write_json
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.publish.promotion import Promotion
from qc_core.statistics import Estimate


def old_promotion() -> dict[str, Any]:
    """Return a document of schema version 2."""
    interval = {"value": 0.5, "low": 0.0, "high": 1.0}
    episode = {"seed": 7, "success": False, "steps": 90, "episode_return": -9.0}
    champion = {"success": interval, "steps": interval, "mean-return": -9.0}
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
        "results": {"champion": {**champion, "outcomes": [{**episode, "success_told": False}]}},
    }
    return {
        "schema-version": 2,
        "name": "cube",
        "version": "2",
        "store": "a folder",
        "champion": True,
        "became": "the new champion",
        "gate": gate,
    }


def test_a_document_of_schema_version_2_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "promotion.json", old_promotion())
    promotion = read(tmp_path / "promotion.json", Promotion)
    assert (promotion.schema_version, promotion.gate.schema_version) == (3, 2)
    assert (promotion.gate.max_episodes, promotion.gate.reports_success) == (50, False)
    assert promotion.gate.net_wins == Estimate(0.5, 0.0, 1.0)
    assert promotion.gate.results["champion"].episode_results == (
        EpisodeResult(7, False, 90, -9.0, reports_success=False),
    )
    assert promotion.summary == "cube:2 is the new champion: better: more wins"


def test_a_newer_document_is_refused_by_its_version(tmp_path: Path) -> None:
    write_json(tmp_path / "promotion.json", {**old_promotion(), "schema-version": 9})
    with pytest.raises(UsageError, match=r"json: promotion schema 2 or 3 is needed, got 9$"):
        read(tmp_path / "promotion.json", Promotion)

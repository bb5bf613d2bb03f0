"""Data sources keep the flat JSON form in which datasets record them."""

from typing import Any

import pytest

from qc_core import documents
from qc_core.errors import UsageError
from qc_core.policy_format.data_source import DataSource, DataSummary


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"kind": "ogbench", "files": {"a.npz": "a" * 64}},
        {"kind": "collect", "collection": "play", "episodes": 2, "seed": 3},
        {"kind": "minari", "dataset": "d4rl/door/human-v2", "minari-version": "0.5.3"},
        {"kind": "lerobot", "codebase-version": "v3.0", "files": {}},
        {"kind": "robomimic", "demonstrations": 3, "filter": "train"},
        {"kind": "joined", "digest": "d", "sources": [{"kind": "store", "transitions": 8}]},
    ],
)
def test_a_source_is_read_and_only_known_fields_are_written(content: dict[str, Any]) -> None:
    source = documents.convert(content, DataSource, "source")
    written = {key: value for key, value in content.items() if value != {}}
    assert documents.to_json(source) == written


def test_the_parts_of_a_source_are_the_joined_ones_or_itself() -> None:
    one, other = DataSource(kind="collect", digest="a"), DataSource(kind="store", digest="b")
    assert one.parts == (one,)
    assert DataSource(kind="joined", sources=(one, other)).parts == (one, other)


def test_a_summary_has_every_field() -> None:
    summary = DataSource(kind="collect", seed=3).summary()
    assert documents.to_json(summary) == {
        "kind": "collect",
        "transitions": None,
        "episodes": None,
        "digest": None,
    }
    with pytest.raises(UsageError, match="missing required field `digest`"):
        documents.convert({"kind": "x", "transitions": 1, "episodes": 1}, DataSummary, "manifest")


@pytest.mark.parametrize("content", [{"sources": {}}, {"sources": [3]}, {"digest": 3}])
def test_a_source_of_wrong_types_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^dataset\.json is damaged"):
        documents.convert(content, DataSource, "dataset.json")

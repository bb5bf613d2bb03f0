"""Documents are checked once when they are read, and every damage is one line."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qc_core import documents
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import UsageError


class Part(Document, frozen=True, kw_only=True):
    low_end: float
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.low_end < 0:
            raise InvalidDocument("the low end must not be negative")


class Page(Document, frozen=True, kw_only=True):
    schema_version: int = 2
    part: Part
    note: dict[str, Any] | None = None

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        if documents.schema_version(content, (1, 2), what, "page") == 2:
            return content
        renamed = documents.with_keys_renamed(content, {"piece": "part"})
        return {**renamed, "schema-version": 2}


PAGE = {"schema-version": 2, "part": {"low-end": 1, "sizes": [3, 4]}, "note": None}


def test_a_document_is_written_and_read_back(tmp_path: Path) -> None:
    page = documents.convert(PAGE, Page, "page")
    documents.write(tmp_path / "page.json", page)
    assert documents.read(tmp_path / "page.json", Page) == page
    assert documents.to_json(page) == PAGE
    assert json.loads(documents.encode(page)) == PAGE
    text = json.dumps(documents.to_json(page), indent=2, sort_keys=True)
    assert documents.encode(page).decode() == text + "\n"


def test_unknown_fields_are_ignored() -> None:
    content = {**PAGE, "new": 1, "part": {**PAGE["part"], "newer": 2}}
    assert documents.convert(content, Page, "page") == documents.convert(PAGE, Page, "page")


def test_an_older_schema_is_read() -> None:
    old = {"schema-version": 1, "piece": PAGE["part"]}
    assert documents.convert(old, Page, "page") == documents.convert(PAGE, Page, "page")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "page must contain a JSON object, got list"),
        ({}, "'schema-version' must be an integer, got None"),
        ({"schema-version": "2"}, "'schema-version' must be an integer, got '2'"),
        ({"schema-version": True}, "'schema-version' must be an integer, got True"),
        ({"schema-version": 3}, "page: page schema 1 or 2 is needed, got 3"),
        ({"schema-version": 2}, "missing required field `part`"),
        ({"schema-version": 1, "part": 3}, r"Expected `object`, got `int` - at `\$.part`"),
        ({**PAGE, "part": {"low-end": "1"}}, r"Expected `float`, got `str` - at `\$.part.low-end`"),
        ({**PAGE, "part": {"low-end": -1}}, r"must not be negative - at `\$.part`"),
        ({**PAGE, "part": {"low-end": 10**400}}, "Number out of range"),
        ({**PAGE, "part": {"low-end": 1, "\ud800": 1}}, "is damaged"),
    ],
)
def test_damage_is_one_line_that_names_the_document(content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        documents.convert(content, Page, "page")
    assert str(refusal.value).startswith("page")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_content_that_is_not_json_is_one_line(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"^page is not readable JSON") as refusal:
        documents.parse(content, Page, "page")
    assert "\n" not in str(refusal.value)


def test_an_invalid_document_made_in_python_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="must not be negative"):
        Part(low_end=-1.0)


def test_a_document_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Part(low_end=1.0).low_end = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    assert msgspec.structs.replace(Part(low_end=1.0), sizes=(1,)).sizes == (1,)

"""Typed documents: the JSON that steps, stores and robots exchange, checked once when it is read.

Each document is a frozen struct with kebab-case keys. Unknown fields are ignored, so that a newer
release may add fields. A missing field or a field of the wrong type is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from qc_core.errors import UsageError
from qc_core.files import parse_json, read_json, write_atomically


class InvalidDocument(UsageError, ValueError):
    """A value that a document's own check refuses; `__post_init__` raises it."""


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Base class of all documents. `converted_from_older` upgrades what older versions wrote.

    Subclasses repeat `frozen=True, kw_only=True`, which type checkers need to see.
    """

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        """Return the content with the keys of the current schema.

        It is called for the outermost document, which also converts the documents inside it.

        Args:
            content: a JSON object of any schema version.
            what: the file or object, for error messages.

        Raises:
            UsageError: a schema version that this release cannot read.
        """
        return content


D = TypeVar("D", bound=Document)


def parse(content: str | bytes, kind: type[D], what: str) -> D:
    """Parse a JSON document.

    Args:
        what: the file or object, for error messages.

    Raises:
        UsageError: not JSON, a missing field, a field of the wrong type, or an invalid value.
    """
    try:
        value = parse_json(content)
    except ValueError as error:
        raise UsageError(f"{what} is not readable JSON: {_one_line(error)}") from error
    return convert(value, kind, what)


def read(path: Path, kind: type[D]) -> D:
    """Read a JSON document from a file (raises as `parse`, and as `read_json`)."""
    return convert(read_json(path), kind, str(path))


def convert(value: Any, kind: type[D], what: str) -> D:
    """Check plain JSON values and return the document (raises as `parse`)."""
    if not isinstance(value, dict):
        raise UsageError(f"{what} must contain a JSON object, got {type(value).__name__}")
    try:
        return msgspec.convert(kind.converted_from_older(_with_nan(value), what), kind)
    except (ValueError, RecursionError) as error:
        # A lone surrogate in a key is a UnicodeEncodeError, which is a ValueError.
        raise UsageError(f"{what} is damaged: {_one_line(error)}") from error


def schema_version(
    content: Mapping[str, Any], readable: Sequence[int], what: str, kind: str
) -> int:
    """Return the schema version of a JSON object.

    Args:
        readable: the versions that this release can read.
        what: the file or object, for error messages.
        kind: the kind of document, for error messages.

    Raises:
        UsageError: the version is missing, not an integer, or not readable.
    """
    version = content.get("schema-version")
    if type(version) is not int:
        raise UsageError(f"{what} is damaged: 'schema-version' must be an integer, got {version!r}")
    if version not in readable:
        wanted = " or ".join(map(str, readable))
        raise UsageError(f"{what}: {kind} schema {wanted} is needed, got {version}")
    return version


def with_keys_renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a JSON object with some of its keys renamed; any other value is returned unchanged.

    Args:
        names: new keys by old keys.
    """
    if not isinstance(value, dict):
        return value
    return {names.get(key, key): entry for key, entry in value.items()}


def to_json(document: Document) -> dict[str, Any]:
    """Return the document as plain JSON values: objects, lists, strings, numbers and null."""
    return plain(msgspec.to_builtins(document))


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are when they are read from JSON, which has no tuples and no NaN."""
    return json.loads(json.dumps(_without_nan(value)))


def encode(document: Document) -> bytes:
    """Return the document as readable JSON with sorted keys, as `write_json` writes it."""
    content = _without_nan(msgspec.to_builtins(document))
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def write(path: Path, document: Document) -> None:
    """Write a document to a file, atomically."""
    write_atomically(path, encode(document))


def _without_nan(value: Any) -> Any:
    """Replace the NaN ends of estimates without an interval by null: JSON has no NaN."""
    return _with_ends(value, lambda end: None if end != end else end)


def _with_nan(value: Any) -> Any:
    return _with_ends(value, lambda end: math.nan if end is None else end)


def _with_ends(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change the ends of every estimate, an object with the keys value, low and high."""
    if isinstance(value, list | tuple):
        return [_with_ends(entry, change) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"value", "low", "high"}:
        return {key: change(end) if key != "value" else end for key, end in value.items()}
    return {key: _with_ends(entry, change) for key, entry in value.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

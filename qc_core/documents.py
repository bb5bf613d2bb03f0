"""Typed documents: the JSON that steps, stores and robots exchange, checked once when it is read.

Each document is a frozen struct with kebab-case keys. Unknown fields are ignored, so that a newer
writer may add some; a field that is missing or has the wrong type is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from qc_core.errors import UsageError
from qc_core.files import parse_json, read_json, write_atomically


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Base class of all documents. `converted_from_older` upgrades what older versions wrote."""

    @classmethod
    def converted_from_older(cls, content: dict[str, Any], what: str) -> dict[str, Any]:
        """Return the content under the names of the current schema.

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
        UsageError: not JSON, a missing field, or a field of the wrong type.
    """
    try:
        value = parse_json(content)
    except ValueError as error:
        raise UsageError(f"{what} is not readable JSON: {' '.join(str(error).split())}") from error
    return convert(value, kind, what)


def read(path: Path, kind: type[D]) -> D:
    """Read a JSON document from a file (raises as `parse`, and as `read_json`)."""
    return convert(read_json(path), kind, str(path))


def convert(value: Any, kind: type[D], what: str) -> D:
    """Check plain JSON values and return the document (raises as `parse`)."""
    if not isinstance(value, dict):
        raise UsageError(f"{what} must contain a JSON object, got {type(value).__name__}")
    try:
        return msgspec.convert(kind.converted_from_older(value, what), kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{what} is damaged: {error}") from error


def to_json(document: Document) -> dict[str, Any]:
    """Return the document as plain JSON values."""
    return msgspec.to_builtins(document)


def encode(document: Document) -> bytes:
    """Return the document as readable JSON with sorted keys, as `write_json` writes it."""
    return (json.dumps(to_json(document), indent=2, sort_keys=True) + "\n").encode()


def write(path: Path, document: Document) -> None:
    """Write a document to a file, atomically."""
    write_atomically(path, encode(document))

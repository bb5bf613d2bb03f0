"""Inputs of the pipeline from a command line, checked before a run is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.errors import UsageError, closest

# The command has words of its own for these.
_OWN_WORDS = ("recipe", "overrides")
_AMOUNT = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")
_JSON = {"STRUCT": (dict, "mapping"), "LIST": (list, "list")}


def read_inputs(words: Sequence[str], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name.

    Args:
        words: `NAME=VALUE`; mappings and lists are JSON.
        definitions: the parameters in the input definitions of a compiled pipeline.

    Raises:
        UsageError: there is no such input, or it does not take that value.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"--input is NAME=VALUE, got {word!r}")
        if name in _OWN_WORDS:
            raise UsageError(f"--input {name}: the command's own words say that")
        if name not in definitions:
            known = [name for name in definitions if name not in _OWN_WORDS]
            raise UsageError(
                f"--input: the pipeline has no {name!r}, but {', '.join(known)}."
                + closest(name, known)
            )
        values[name] = _value(name, text, definitions[name])
        require_usable(name, text)
    return values


def require_usable(name: str, text: str) -> None:
    """Refuse what KFP's driver would stumble over, perhaps after days (UsageError)."""
    if name == "gpus" and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"gpus is a number, 0 for none, got {text!r}")
    if name in ("cpus", "memory") and not _AMOUNT.fullmatch(text):
        raise UsageError(
            f"{name} is an amount as Kubernetes has it, such as 2 or 16Gi, got {text!r}"
        )
    if name.endswith("_secret") and not text:
        raise UsageError(f"{name} names a Secret, which need not be there: it may not be empty")


def _value(name: str, text: str, definition: Mapping[str, Any]) -> Any:
    choices = definition.get("literals")
    if choices and text not in choices:
        raise UsageError(f"--input {name} is one of {', '.join(choices)}, got {text!r}")
    if definition["parameterType"] not in _JSON:
        return text
    kind, noun = _JSON[definition["parameterType"]]
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise UsageError(f"--input {name} is a {noun} in JSON, got {text!r}")
    return value

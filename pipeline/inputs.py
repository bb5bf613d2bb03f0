"""Parses the `--input NAME=VALUE` options of a command against the compiled pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.config.resources import check_resources
from qc_core.errors import UsageError, closest

# The command takes these as its own arguments.
_COMMAND_ARGUMENTS = ("recipe", "overrides")
_JSON = {"STRUCT": (dict, "object"), "LIST": (list, "list")}


def parse_inputs(options: Sequence[str], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of pipeline inputs by name.

    Args:
        options: `NAME=VALUE`; mappings and lists are JSON.
        definitions: the parameters in the input definitions of a compiled pipeline.

    Raises:
        UsageError: the pipeline has no such input, or the value is not valid for it.
    """
    values: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise UsageError(f"--input must be NAME=VALUE, got {option!r}")
        if name in _COMMAND_ARGUMENTS:
            raise UsageError(f"--input {name}: the command's own arguments set it")
        if name.endswith("_secret"):
            raise UsageError(
                f"--input {name} is now an option: --{name.replace('_', '-')} {text or 'NAME'}"
            )
        if name not in definitions:
            known = [name for name in definitions if name not in _COMMAND_ARGUMENTS]
            raise UsageError(
                f"--input: the pipeline has no input {name!r}; its inputs are {', '.join(known)}."
                + closest(name, known)
            )
        values[name] = _value(name, text, definitions[name])
        check_resources(**{name: values[name]})
    return values


def _value(name: str, text: str, definition: Mapping[str, Any]) -> Any:
    """Return the value of one input as KFP's API takes it."""
    choices = definition.get("literals")
    if choices and text not in choices:
        raise UsageError(f"--input {name} must be one of {', '.join(choices)}, got {text!r}")
    if definition["parameterType"] not in _JSON:
        return text
    kind, noun = _JSON[definition["parameterType"]]
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise UsageError(f"--input {name} must be a JSON {noun}, got {text!r}")
    return value

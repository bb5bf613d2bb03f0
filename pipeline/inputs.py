"""Turns the arguments of a command into values for the inputs of the compiled pipeline."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from qc_core.config.resolve import AS_THE_RECIPE
from qc_core.config.resources import DEFAULT_CPUS, check_resources, training_memory
from qc_core.errors import UsageError, closest
from qc_core.log import log

_METHOD = "--train.method"
# The command's own arguments set these inputs.
_COMMAND_ARGUMENTS = {
    "recipe": "the argument RECIPE",
    "recipe_method": f"the option {_METHOD}",
    "recipe_overrides": "an option of the command, such as --seed 3,",
}
# Names of inputs in version 0.2.
RENAMED = {
    "method": "recipe_method",
    "overrides": "recipe_overrides",
    "cpus": "resources_cpus",
    "gpus": "resources_gpus",
    "memory": "resources_memory",
    "node_selector": "resources_node_selector",
}
# Values of removed inputs that change nothing.
_OLD_DEFAULTS: dict[str, Any] = {"gpu_type": "nvidia.com/gpu", "tolerations": []}
# Inputs of version 0.2 that are now options of the commands which compile the pipeline.
_NOW_OPTIONS = {
    "gpu_type": "--gpu-type {}",
    "tolerations": "--tolerate KEY=VALUE:EFFECT",
    "store_secret": "--store-secret {}",
    "study_secret": "--study-secret {}",
    "webhook_secret": "--webhook-secret {}",
    "signing_secret": "--signing-secret {}",
}


def recipe_inputs(
    recipe: str, overrides: Sequence[str], cpus: str = DEFAULT_CPUS
) -> dict[str, str]:
    """Return the values of the inputs that the recipe and its options set.

    The method has its own input, so that KFP's pages show it. The memory is what a training step of
    the recipe needs with `cpus` cores.
    """
    method, others = AS_THE_RECIPE, []
    words = iter(overrides)
    for word in words:
        if word == _METHOD:
            method = next(words, "")
        elif word.startswith(f"{_METHOD}="):
            method = word.partition("=")[2]
        else:
            others.append(word)
    return {
        "recipe": recipe,
        "recipe_method": method,
        "recipe_overrides": shlex.join(others),
        "resources_memory": training_memory(recipe, cpus),
    }


def current_inputs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs under their current names, such as those of a run of an earlier version."""
    return {
        RENAMED.get(name, name): value
        for name, value in values.items()
        if name not in _OLD_DEFAULTS or value != _OLD_DEFAULTS[name]
    }


def recipe_options(values: dict[str, Any]) -> list[str]:
    """Remove method and overrides from the values of inputs; return them as options.

    This is the inverse of `recipe_inputs`.
    """
    method = values.pop("recipe_method", AS_THE_RECIPE)
    options = shlex.split(values.pop("recipe_overrides", ""))
    return options if method == AS_THE_RECIPE else [_METHOD, method, *options]


def parse_inputs(options: Sequence[str], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of pipeline inputs by name.

    Args:
        options: `NAME=VALUE`; mappings are JSON.
        definitions: the parameters in the input definitions of a compiled pipeline.

    Raises:
        UsageError: the pipeline has no such input, or the value is not valid for it.
    """
    values: dict[str, Any] = {}
    for option in options:
        given, equals, text = option.partition("=")
        if not equals:
            raise UsageError(f"--input must be NAME=VALUE, got {option!r}")
        if given in _NOW_OPTIONS:
            raise UsageError(
                f"--input {given} is now an option: {_NOW_OPTIONS[given].format(text)}"
            )
        name = RENAMED.get(given, given)
        if name in _COMMAND_ARGUMENTS:
            raise UsageError(f"--input {given}: {_COMMAND_ARGUMENTS[name]} sets it")
        if name not in definitions:
            known = [name for name in definitions if name not in _COMMAND_ARGUMENTS]
            raise UsageError(
                f"--input: the pipeline has no input {name!r}; its inputs are {', '.join(known)}."
                + closest(name, known)
            )
        if name != given:
            log.info(f"--input {given} is now called {name}; the old name will be removed")
        values[name] = _value(name, text, definitions[name])
        check_resources(**{name: values[name]})
    return values


def misfits(values: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """Return `NAME=VALUE` of each value that a pipeline with these inputs would refuse."""
    return [
        f"{name}={value}"
        for name, value in values.items()
        if name not in definitions or value not in definitions[name].get("literals", [value])
    ]


def _value(name: str, text: str, definition: Mapping[str, Any]) -> Any:
    """Return the value of one input as KFP's API takes it."""
    choices = definition.get("literals")
    if choices and text not in choices:
        raise UsageError(f"--input {name} must be one of {', '.join(choices)}, got {text!r}")
    if definition["parameterType"] != "STRUCT":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"--input {name} must be a JSON object, got {text!r}")
    return value
